/*
name: rbac-changes
title: What changed in RBAC
describe: >-
  One row per write of a role or a binding, in the order of time: what it grants to whom as far as
  its body was logged, or that it was deleted.
params: {user: null, namespace: null, limit: 10000}
needs: {level: RequestResponse, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch, delete, deletecollection]}
controls: [RBAC-1, RBAC-2, RBAC-3]
*/
SELECT
  event_time, cluster, user_name, impersonated_user, source_ip, verb, resource, namespace,
  coalesce(name, json_value(request_object, '$.metadata.name')) AS name,
  coalesce(json_value(response_object, '$.roleRef.name'),
    json_value(request_object, '$.roleRef.name')) AS role,
  coalesce(nullif(json_query(response_object, '$.subjects[*]["kind", "namespace", "name"]'), '[]'),
    nullif(json_query(request_object, '$.subjects[*]["kind", "namespace", "name"]'), '[]'))
    AS subjects,
  left(coalesce(nullif(json_query(response_object, '$.rules[*]'), '[]'),
    nullif(json_query(request_object, '$.rules[*]'), '[]')), 2000) AS rules,
  response_code, decision_reason, audit_id
FROM events
WHERE event_time >= $since AND event_time < $until
  AND api_group = 'rbac.authorization.k8s.io'
  AND resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND stage IN ('ResponseComplete', 'Panic') AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The API server writes the default ones at each start.
  AND (user_name IS DISTINCT FROM 'system:apiserver')
  AND ($user IS NULL OR user_name = $user)
  AND ($namespace IS NULL OR namespace = $namespace)
ORDER BY event_time, event_id
LIMIT $limit
