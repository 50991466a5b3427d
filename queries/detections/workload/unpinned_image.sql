/*
id: K8A-537
title: Image that may change under its name
severity: informational
attack: [T1525]
controls: [IMG-2]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} with {{images}}, whose tag is latest or missing, by {{verb}} from {{source_ip}}"
false_positives: >-
  Trials.
respond: >-
  Nothing at once. Name a version, better a digest: what runs is otherwise whatever the registry
  says at the next start.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(images, '[\]\[",]+', ' ', 'g')) AS images
FROM (
  SELECT *,
    -- The images of all its containers; of a JSON patch, its values.
    concat(json_query(request_object, '$..image'),
      json_query(request_object, '$[?search(@.path, "/image$")].value')) AS images
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- `latest`, or neither a tag nor a digest; a port of the registry is no tag.
WHERE regexp_like(images, '"([^"@]+/)?[^"/:@]+(:latest)?"')
