/*
name: secrets-read
title: Who read which secrets
describe: >-
  One row per identity, verb and secret that was answered; a list or watch has no name and gave all
  of its namespace, or of the cluster where that is NULL too.
params: {user: null, namespace: null, limit: 1000}
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch]}
controls: [SEC-1]
*/
SELECT
  cluster, user_name, impersonated_user, verb, namespace, name,
  count(*) AS times, count(DISTINCT source_ip) AS sources, max(source_ip) AS source_ip,
  max(user_agent) AS user_agent, min(event_time) AS first_time, max(event_time) AS last_time,
  max(audit_id) AS audit_id
FROM events
WHERE event_time >= $since AND event_time < $until
  AND resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('get', 'list', 'watch') AND stage IN ('ResponseComplete', 'ResponseStarted')
  -- A watch is answered when it starts and again when it ends.
  AND (verb = 'watch' OR stage = 'ResponseComplete')
  AND response_code BETWEEN 200 AND 299
  AND NOT is_system_user(user_name)
  AND ($user IS NULL OR user_name = $user) AND ($namespace IS NULL OR namespace = $namespace)
GROUP BY cluster, user_name, impersonated_user, verb, namespace, name
ORDER BY last_time DESC, user_name, verb, namespace, name
LIMIT $limit
