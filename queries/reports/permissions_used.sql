/*
name: permissions-used
title: Permissions that each identity used
describe: >-
  One row per identity, verb and resource (or path) that was allowed; `done` are those answered
  without an error. `auditmill rbac suggest` makes a role of them.
params: {user: null, namespace: null, limit: 10000}
needs: {level: Metadata, stages: [ResponseComplete]}
controls: [RBAC-1, RBAC-3]
*/
SELECT
  cluster, coalesce(impersonated_user, user_name) AS identity, verb, api_group,
  concat_ws('/', resource, subresource) AS resource,
  CASE WHEN resource IS NULL THEN split_part(request_uri, '?', 1) END AS path, namespace,
  count(*) AS allowed, count(*) FILTER (WHERE response_code < 400) AS done,
  count(DISTINCT name) AS names, min(event_time) AS first_time, max(event_time) AS last_time,
  max(decision_reason) AS allowed_by
FROM events
WHERE event_time >= $since AND event_time < $until
  AND stage = 'ResponseComplete' AND decision = 'allow'
  AND ($user IS NULL OR coalesce(impersonated_user, user_name) = $user)
  AND ($namespace IS NULL OR namespace = $namespace)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY identity, namespace, resource, path, verb
LIMIT $limit
