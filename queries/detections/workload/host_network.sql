/*
id: K8A-504
title: Pod in the network of its node
severity: low
attack: [T1610, T1046]
controls: [WL-2, NET-4]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, jobs, cronjobs, replicasets, replicationcontrollers, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} put {{resource}} {{workload}} ({{images}}) into the network of its node by {{verb}} from {{source_ip}}"
false_positives: >-
  Tests of the network, backups of etcd. Ingress controllers and the like are deployments,
  stateful or daemon sets and told by K8A-541 instead.
respond: >-
  It reaches what listens on the node's loopback address, the cloud's metadata service, and is
  under no network policy. Ask its owner why it needs that.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'jobs', 'cronjobs', 'replicasets', 'replicationcontrollers',
    'podtemplates')
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Deployments of controllers, proxies and webhooks do so by design: K8A-541 tells of those.
  -- What kubectl debug makes to look into a node is told by K8A-423.
  AND (resource = 'pods' AND name LIKE 'node-debugger-%' AND json_value(request_object,
    '$.metadata.labels["app.kubernetes.io/managed-by"]') = 'kubectl-debug') IS NOT TRUE
  AND (json_exists(request_object, '$..[?@.hostNetwork == true]')
    -- A JSON patch that sets it.
    OR json_exists(request_object, '$[?search(@.path, "/hostNetwork$") && @.value == true]'))
