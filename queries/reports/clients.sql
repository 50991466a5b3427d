/*
name: clients
title: Client versions and deprecated APIs
describe: >-
  One row per client program and version as it calls itself, with the identities that use it and how
  many of its calls went to APIs that are deprecated; `removed_in` is the first release without one
  of them.
params: {user: null, limit: 1000}
needs: {level: Metadata, stages: [ResponseComplete]}
controls: [UPD-1]
*/
SELECT
  cluster, split_part(user_agent, '/', 1) AS client,
  split_part(split_part(user_agent, '/', 2), ' ', 1) AS version,
  count(*) AS requests, count(DISTINCT user_name) AS identities, max(user_name) AS identity,
  count(*) FILTER (WHERE annotation(annotations, 'k8s.io/deprecated') = 'true') AS deprecated,
  max(annotation(annotations, 'k8s.io/removed-release')) AS removed_in,
  max(CASE WHEN annotation(annotations, 'k8s.io/deprecated') = 'true'
    THEN concat_ws('/', api_group, api_version, resource) END) AS deprecated_api,
  min(event_time) AS first_time, max(event_time) AS last_time
FROM events
WHERE event_time >= $since AND event_time < $until AND stage = 'ResponseComplete'
  AND ($user IS NULL OR user_name = $user)
GROUP BY 1, 2, 3
ORDER BY deprecated DESC, requests DESC, client, version
LIMIT $limit
