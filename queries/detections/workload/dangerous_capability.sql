/*
id: K8A-507
title: Container with a capability that reaches beyond it
severity: medium
attack: [T1610, T1611]
controls: [WL-1]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with the capabilities {{added}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Profilers (PERFMON, BPF), programs that mount file systems (SYS_ADMIN). Agents of the node
  (daemon sets) are told by K8A-541 instead; NET_ADMIN and its like stay within the pod's own
  network and do not count.
respond: >-
  With any of these a process gets out of its container or reads what is not its own. Delete the
  workload unless its owner confirms it; if it ran, look for what else happened on its node.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(capabilities, '[\]\[",]+', ' ', 'g')) AS added
FROM (
  SELECT *,
    -- What is added, of a whole object, a merge patch, or as values of a JSON patch. A privileged
    -- container has them all, named or not: K8A-501 tells of it.
    upper(concat(json_query(request_object,
        '$..[?@.securityContext.privileged != true].securityContext.capabilities.add'),
      json_query(request_object, '$[?search(@.path, "/securityContext$")
        && @.value.privileged != true].value.capabilities.add'),
      json_query(request_object, '$[?search(@.path, "/capabilities$")].value.add'),
      json_query(request_object, '$[?search(@.path, "/capabilities/add(/[^/]*)?$")].value')))
      AS capabilities
  FROM events
  WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
      'jobs', 'cronjobs', 'podtemplates')
    -- No daemon sets: agents of the node are told by K8A-541, for information.
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- Some runtimes take the names with their prefix, too.
WHERE regexp_like(capabilities,
  '"(CAP_)?(ALL|SYS_ADMIN|SYS_MODULE|SYS_RAWIO|SYSLOG|BPF|PERFMON|DAC_READ_SEARCH'
  || '|CHECKPOINT_RESTORE|MAC_ADMIN|MAC_OVERRIDE)"')
  -- Debugging stays within the pod, as kubectl debug does it, unless that sees the node's
  -- processes.
  OR (regexp_like(capabilities, '"(CAP_)?SYS_PTRACE"')
    AND json_exists(request_object, '$..[?@.hostPID == true]'))
