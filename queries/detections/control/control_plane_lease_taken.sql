/*
id: K8A-621
title: Lease of the control plane or of a node written by somebody else
severity: medium
attack: [T1499, T1685]
controls: [API-6]
key: [user_name, impersonated_user, namespace, lease]
needs: {level: Metadata, resources: [leases], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, platform]
describe: "{{user_name}}{{acting_as}} wrote lease {{namespace}}/{{lease}} by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who frees a lease whose holder is gone. Distributions whose control plane has
  other names: exempt them by user and user agent.
respond: >-
  Whoever holds the lease of a control plane component stops it from working: no controllers, no
  scheduling, no garbage collection. Delete the lease and revoke the credential. A forged lease of a
  node makes a dead node look alive.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace,
  coalesce(name, '(all)') AS lease,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'leases' AND api_group = 'coordination.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND namespace IN ('kube-system', 'kube-node-lease')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Only names that are the same in every cluster, and each with its holder.
  AND ((namespace = 'kube-system' AND name IN ('kube-controller-manager', 'kube-scheduler')
      AND (user_name = concat('system:', name)) IS NOT TRUE)
    OR (namespace = 'kube-system' AND verb = 'deletecollection')
    OR (namespace = 'kube-node-lease'
      AND (user_name = concat('system:node:', name)) IS NOT TRUE))
