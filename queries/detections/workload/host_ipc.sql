/*
id: K8A-503
title: Workload shares the memory segments of its node
severity: low
attack: [T1610, T1611]
controls: [WL-2]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) into the IPC namespace of its node by {{verb}} from {{source_ip}}"
false_positives: >-
  Databases and GPU programs that were told to share memory with their neighbours.
respond: >-
  Ask what it needs shared memory with the node for; a memory volume (emptyDir) inside the pod
  nearly always will do.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
    'jobs', 'cronjobs', 'podtemplates')
  -- No daemon sets: agents of the node are told by K8A-541, for information.
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- What kubectl debug makes to look into a node is told by K8A-423.
  AND (resource = 'pods' AND name LIKE 'node-debugger-%' AND json_value(request_object,
    '$.metadata.labels["app.kubernetes.io/managed-by"]') = 'kubectl-debug') IS NOT TRUE
  AND (json_exists(request_object, '$..[?@.hostIPC == true]')
    -- A JSON patch that sets it.
    OR json_exists(request_object, '$[?search(@.path, "/hostIPC$") && @.value == true]'))
