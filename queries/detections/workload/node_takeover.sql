/*
id: K8A-540
title: Workload made to take over its node
severity: high
attack: [T1611, T1610]
controls: [WL-1, WL-2]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) with the means to take over its node ({{means}}) by {{verb}} from {{source_ip}}"
false_positives: >-
  Repair of a node by an administrator with such a pod.
respond: >-
  Treat it as an intrusion until its owner confirms it: delete the workload, take the node out of
  service and keep its disk, rotate the credentials of all that ran there.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  concat_ws(', ', CASE WHEN privileged THEN 'privileged' END,
    CASE WHEN host_pid THEN 'its processes' END, CASE WHEN root THEN 'its root folder' END,
    nullif(left(commands, 200), '')) AS means
FROM (
  SELECT *,
    -- What its containers, probes and hooks run, as one line; of a JSON patch, its values.
    trim(regexp_replace(translate(regexp_replace(concat(
      json_query(request_object, '$..["command", "args"]'),
      json_query(request_object, '$[?search(@.path, "/(command|args)(/[^/]*)?$")].value')),
      '\\[nt"]', ' ', 'g'), '[]",\', '     '), ' +', ' ', 'g')) AS commands,
    json_exists(request_object, '$..[?@.securityContext.privileged == true]') AS privileged,
    json_exists(request_object, '$..[?@.hostPID == true]') AS host_pid,
    regexp_like(json_query(request_object, '$..hostPath.path'), '"[/.]+"') AS root
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- One alone has honest uses; together they have hardly any outside of agents of the node.
WHERE (privileged AND (host_pid OR root) AND (resource <> 'daemonsets'
    -- An agent has something to do. What only waits is there to be entered.
    OR regexp_like(commands,
      '^([a-z/]*sh (-c )?)?(sleep ([0-9.]+[smhd]?|inf[a-z]*)|tail -f /dev/null'
      || '|while [^;]*; ?do sleep [0-9]+[smhd]?; ?done|cat);?$')))
  -- A way out that is written down: into the first process of the node, into its folder, or by the
  -- kernel's own callbacks. An agent that enters one namespace by a path does not name process 1.
  OR regexp_like(commands, 'nsenter (.* )?(-[a-zA-Z]*t *=?|--target[= ])1( |$)'
    || '|chroot +/(host|hostfs|host-root|hostroot|rootfs|node|mnt)[^ ]*( |$)'
    || '|release_agent|/proc/sys/kernel/core_pattern')
