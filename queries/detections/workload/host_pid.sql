/*
id: K8A-502
title: Workload shares the process table of its node
severity: medium
attack: [T1610, T1611]
controls: [WL-2]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) into the process namespace of its node by {{verb}} from {{source_ip}}"
false_positives: >-
  Debugging of a node by other means than kubectl debug, security benchmarks that look at the
  node's processes. Agents of the node (daemon sets) are told by K8A-541 instead.
respond: >-
  Its containers see every process of the node, their environment and, as root, their files. Ask
  who deployed it; unless it is confirmed delete it, and rotate the credentials of the pods on
  that node.
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
  -- What debuggers of nodes mount all of the node for is told by K8A-423.
  AND (resource = 'pods' AND verb = 'create'
    AND (coalesce(name, json_value(request_object, '$.metadata.generateName'))
        LIKE 'node-debugger-%'
      OR json_exists(request_object,
        '$.metadata.annotations["debug.openshift.io/source-resource"]'))
    AND json_exists(request_object,
      '$.spec.volumes[?match(@.hostPath.path, "/+(\\.?/*)*")]')) IS NOT TRUE
  -- With a privileged container it is the node, as K8A-540 says.
  AND json_exists(request_object, '$..[?@.securityContext.privileged == true]') IS NOT TRUE
  AND (json_exists(request_object, '$..[?@.hostPID == true]')
    -- A JSON patch that sets it.
    OR json_exists(request_object, '$[?search(@.path, "/hostPID$") && @.value == true]'))
