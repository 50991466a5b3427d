/*
name: actor
title: Everything that one actor did, in the order of time
describe: >-
  One row per request that fits all that is given: a user (also one that others acted as), an
  address, a pod or a credential. Reads that are the same follow each other as they came; use
  --since and --limit.
params: {user: null, ip: null, pod: null, credential: null, limit: 10000}
requires_one: [user, ip, pod, credential]
needs: {level: Metadata}
controls: [MON-3, MON-4]
*/
SELECT
  event_time, cluster, user_name, impersonated_user, source_ip, pod_name AS pod,
  node_name AS node, verb,
  CASE WHEN resource IS NULL THEN split_part(request_uri, '?', 1)
    ELSE concat_ws('/', api_group, resource, subresource) END AS what,
  namespace, coalesce(name, json_value(request_object, '$.metadata.name')) AS name,
  exec_command(request_uri) AS command, decision, response_code, stage, user_agent, credential_id,
  audit_id
FROM events
WHERE event_time >= $since AND event_time < $until
  -- What ends a request; a refused credential ends at its start.
  AND (stage IN ('ResponseComplete', 'Panic') OR (stage = 'ResponseStarted'
    AND (response_code = 401 OR subresource IN ('exec', 'attach', 'portforward', 'proxy'))))
  AND ($user IS NULL OR user_name = $user OR impersonated_user = $user)
  AND ($ip IS NULL OR source_ip = $ip)
  AND ($pod IS NULL OR pod_name = $pod)
  AND ($credential IS NULL OR credential_id = $credential)
ORDER BY event_time, event_id
LIMIT $limit
