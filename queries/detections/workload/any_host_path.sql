/*
id: K8A-506
title: Workload mounts a path of its node
severity: informational
attack: [T1610]
controls: [WL-2]
key: [user_name, resource, workload]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with {{host_paths}} of its node by {{verb}} from {{source_ip}}"
false_positives: >-
  Agents that read logs, devices or time zones, and programs from the days before volumes.
respond: >-
  Nothing at once. Paths of the node tie a workload to it and pass by the quotas and the
  encryption of volumes: ask for another kind of volume.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(paths, '[\]\[",]+', ' ', 'g')) AS host_paths
FROM (
  SELECT *,
    -- All paths of the node that it mounts, of a whole object, a merge patch, or as values of a
    -- JSON patch; `//` and `/./` are `/` to the kubelet, too.
    regexp_replace(concat(json_query(request_object, '$..hostPath.path'),
      json_query(request_object, '$[?search(@.path, "/hostPath$")].value.path'),
      json_query(request_object, '$[?search(@.path, "/hostPath/path$")].value')),
      '/([.]?/)+', '/', 'g') AS paths
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
WHERE paths LIKE '%"/%'
