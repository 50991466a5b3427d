/*
name: denied
title: What was forbidden to whom
describe: One row per identity, verb and resource that was answered with 403, by how often.
params: {user: null, ip: null, namespace: null, limit: 1000}
needs: {level: Metadata, stages: [ResponseComplete]}
controls: [API-4, HUNT-1]
*/
SELECT
  cluster, user_name, impersonated_user, verb, api_group,
  concat_ws('/', resource, subresource) AS resource, namespace, count(*) AS requests,
  count(DISTINCT name) AS names, max(source_ip) AS source_ip, max(user_agent) AS user_agent,
  max(response_message) AS message, min(event_time) AS first_time, max(event_time) AS last_time,
  max(audit_id) AS audit_id
FROM events
WHERE event_time >= $since AND event_time < $until AND response_code = 403
  AND stage = 'ResponseComplete'
  AND ($user IS NULL OR user_name = $user) AND ($ip IS NULL OR source_ip = $ip)
  AND ($namespace IS NULL OR namespace = $namespace)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY requests DESC, user_name, resource, verb
LIMIT $limit
