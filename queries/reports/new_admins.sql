/*
name: new-admins
title: Who was made an administrator
describe: >-
  One row per subject of a written binding to cluster-admin, admin, edit or system:masters-like
  roles, and per role with all verbs on all resources; with who granted it.
params: {limit: 1000}
needs: {level: Request, resources: [clusterrolebindings, rolebindings, clusterroles, roles], verbs: [create, update, patch]}
controls: [RBAC-1, RBAC-2]
*/
SELECT
  event_time, cluster, user_name AS granted_by, verb, resource, namespace, name, role_kind,
  role_name, subject_kind, subject_namespace, subject_name, rules, audit_id
FROM role_grants
WHERE event_time >= $since AND event_time < $until AND response_code BETWEEN 200 AND 299
  AND NOT is_system_user(user_name)
  AND (role_name IN ('cluster-admin', 'admin', 'edit') AND rules IS NULL
    OR json_exists(rules, '$[?@.verbs[?@ == "*"] && @.resources[?@ == "*"]]'))
ORDER BY event_time DESC, name, subject_name
LIMIT $limit
