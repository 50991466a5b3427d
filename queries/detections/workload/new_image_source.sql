/*
id: K8A-545
title: Image from a source that the cluster never used
severity: low
attack: [T1610, T1525, T1204.003]
controls: [IMG-1]
first_seen: {key: [image_source], lookback: 30d, learn: 7d}
exempt: [control-plane, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} with {{image}} by {{verb}} from {{source_ip}}: nothing from {{image_source}} ran here before"
false_positives: >-
  The first program of a new supplier.
respond: >-
  Ask whoever deployed it what it is. K8A-516 can be told which registries are allowed.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  image,
  -- The registry and the first part of the path; of an image that names no registry only the
  -- latter, and of those of Docker's own library all alike.
  regexp_replace(regexp_replace(image, '^[^/]+$', 'library'),
    '^([^/]*[.:][^/]*/)?([^/:@]+)(.*)$', '\1\2') AS image_source
FROM (
  SELECT *, coalesce(
    json_value(request_object, '$..containers[0].image'),
    json_value(request_object, '$[?search(@.path, "/image$")].value')) AS image
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
WHERE image IS NOT NULL
