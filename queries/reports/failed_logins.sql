/*
name: failed-logins
title: Credentials that were refused
describe: >-
  One row per address and client whose requests were answered with 401. A refused credential has no
  user: who it was the next allowed request from there may tell (`report actor --ip`).
params: {ip: null, limit: 1000}
needs: {level: Metadata, stages: [ResponseStarted]}
controls: [API-3, API-4]
*/
SELECT
  cluster, source_ip, user_agent, count(DISTINCT audit_id) AS requests,
  count(DISTINCT split_part(request_uri, '?', 1)) AS paths,
  max(split_part(request_uri, '?', 1)) AS path, max(response_message) AS message,
  min(event_time) AS first_time, max(event_time) AS last_time, max(audit_id) AS audit_id
FROM events
WHERE event_time >= $since AND event_time < $until AND response_code = 401
  AND ($ip IS NULL OR source_ip = $ip)
GROUP BY 1, 2, 3
ORDER BY requests DESC, source_ip, user_agent
LIMIT $limit
