/*
id: K8A-610
title: Configuration of the cluster's DNS changed
severity: medium
attack: [T1557, T1565.002]
controls: [API-6, NET-1]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [configmaps], verbs: [create, update, patch, delete], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform, control-setup]
describe: "{{user_name}}{{acting_as}} changed how the cluster finds names by {{verb}} of configmap {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who adds a domain or an upstream server by hand. Tools that manage the cluster
  are exempt by name and program.
respond: >-
  Read the object as it is now (its contents are not recorded): rewrites, hosts and forwards to
  unknown addresses lead every pod's connections elsewhere. Put it back from its source.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'configmaps' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete') AND namespace = 'kube-system'
  AND name IN ('coredns', 'coredns-custom', 'kube-dns', 'node-local-dns',
    'rke2-coredns-rke2-coredns')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Who sets a cluster up makes these objects, with the rights of its first administrator. A thing
  -- that is made where it was missing by somebody else is no installation.
  AND (response_code = 201 AND (has_group(user_groups, 'system:masters')
    OR has_group(user_groups, 'kubeadm:cluster-admins'))) IS NOT TRUE
