/*
id: K8A-218
title: Map from AWS identities to Kubernetes rights changed
severity: medium
attack: [T1098]
controls: [CLD-1, RBAC-2]
key: [user_name, source_ip]
exempt: [cloud, gitops]
needs: {level: Metadata, resources: [configmaps], verbs: [create, update, patch, delete], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} changed who in AWS is who in the cluster (configmap kube-system/aws-auth) by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Node groups and people added by eksctl, Terraform or an administrator; ask for the change that it
  belongs to.
respond: >-
  Compare the map with its source (`kubectl -n kube-system get configmap aws-auth -o yaml`; what was
  written is not recorded). A role or user in system:masters is an administrator of the cluster
  without any binding: take it out, then end its sessions in AWS.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  credential_id,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'configmaps' AND api_group IS NULL
  AND namespace = 'kube-system' AND name = 'aws-auth'
  AND verb IN ('create', 'update', 'patch', 'delete')
  -- Done: not denied, not in conflict, not tried only.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
