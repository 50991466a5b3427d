/*
id: K8A-541
title: Workload close to its node
severity: informational
attack: [T1610]
controls: [WL-1, WL-2, WL-4]
key: [user_name, resource, workload]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}), which has {{facts}}, by {{verb}} from {{source_ip}}"
false_positives: >-
  Agents for network, storage, logs and metrics, delivery tools that write them, CI runners.
respond: >-
  Nothing at once: it is the inventory of what may reach nodes. What of it is odd is told by
  K8A-501 to K8A-508, K8A-540 and K8A-547.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  concat_ws(', ',
    CASE WHEN json_exists(request_object, '$..[?@.securityContext.privileged == true]')
      THEN 'privileged containers' END,
    CASE WHEN json_exists(request_object, '$..[?@.hostPID == true]') THEN 'its processes' END,
    CASE WHEN json_exists(request_object, '$..[?@.hostIPC == true]') THEN 'its memory segments' END,
    CASE WHEN json_exists(request_object, '$..[?@.hostNetwork == true]') THEN 'its network' END,
    CASE WHEN json_exists(request_object, '$..capabilities.add[*]') THEN 'more capabilities' END,
    CASE WHEN json_exists(request_object, '$..hostPath.path') THEN 'its paths' END) AS facts
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_exists(request_object, '$..[?@.securityContext.privileged == true
      || @.hostPID == true || @.hostIPC == true || @.hostNetwork == true]')
    -- Paths alone are told by K8A-506. kubectl debug adds SYS_PTRACE to what it adds.
    OR json_exists(request_object,
      '$..capabilities.add[?@ != "NET_BIND_SERVICE" && @ != "SYS_PTRACE"]'))
