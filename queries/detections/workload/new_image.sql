/*
id: K8A-517
title: Image that the namespace never ran before
severity: informational
attack: [T1610, T1525]
controls: [IMG-1, WL-9]
first_seen: {key: [namespace, repositories], lookback: 30d, learn: 7d}
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} with {{images}}, new in {{namespace}}, by {{verb}} from {{source_ip}}"
false_positives: >-
  Every first deployment of a program.
respond: >-
  Nothing at once: it is what else to look at when there is a finding of the same identity.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  -- Without tag and digest: a new version is no news.
  trim(regexp_replace(regexp_replace(images, '(:[^:/"@]*)?(@[^"]*)?"', '"', 'g'),
    '[\]\[",]+', ' ', 'g')) AS repositories,
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
WHERE images LIKE '%"%'
