/*
name: impersonation
title: Who acted as whom
describe: One row per identity and the one that it acted as, with how many requests were refused.
params: {user: null, limit: 1000}
needs: {level: Metadata, stages: [ResponseComplete]}
controls: [RBAC-5]
*/
SELECT
  cluster, user_name, impersonated_user, max(impersonated_groups) AS impersonated_groups,
  count(*) AS requests, count(*) FILTER (WHERE response_code = 403) AS refused,
  max(source_ip) AS source_ip, min(event_time) AS first_time, max(event_time) AS last_time,
  max(audit_id) AS audit_id
FROM events
WHERE event_time >= $since AND event_time < $until AND stage = 'ResponseComplete'
  AND impersonated_user IS NOT NULL
  AND ($user IS NULL OR user_name = $user OR impersonated_user = $user)
GROUP BY 1, 2, 3
ORDER BY requests DESC, user_name, impersonated_user
LIMIT $limit
