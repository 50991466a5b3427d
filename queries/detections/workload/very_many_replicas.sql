/*
id: K8A-554
title: Very many copies of one workload asked for
severity: low
attack: [T1496.001, T1499]
controls: [WL-8]
key: [user_name, resource, workload]
params: {copies: 200}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [deployments, deployments/scale, statefulsets, statefulsets/scale, replicasets, replicasets/scale, replicationcontrollers, replicationcontrollers/scale, jobs, cronjobs], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} asked for {{copies}} copies of {{resource}} {{workload}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Batch work and load tests of a size of their own: set the parameter above what is usual.
respond: >-
  Ask the person, and scale it down if it was not meant. What it runs tells mining from a slip of
  the finger; a quota on the namespace bounds both.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  copies
FROM (
  SELECT *, TRY_CAST(coalesce(
    json_value(request_object, '$.spec.replicas'),
    json_value(request_object, '$..["parallelism"]'),
    json_value(request_object, '$[?search(@.path, "/(replicas|parallelism)$")].value'))
    AS BIGINT) AS copies
  FROM events
  WHERE resource IN ('deployments', 'statefulsets', 'replicasets', 'replicationcontrollers', 'jobs',
      'cronjobs')
    AND (subresource IS NULL OR subresource = 'scale')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
WHERE copies >= $copies
