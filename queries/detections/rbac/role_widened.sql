/*
id: K8A-308
title: Existing role widened to everything
severity: high
attack: [T1098.006]
controls: [RBAC-1, RBAC-3]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} widened {{resource}} {{role}} to every verb on every resource by {{verb}} from {{source_ip}}"
false_positives: >-
  A new version of a platform whose role had a wildcard before, written as a whole.
respond: >-
  Everybody who is bound to the role has all rights at once, and no binding shows it. Put the old
  rules back, list who is bound to it, and see what they did since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace, name,
  concat_ws('/', namespace, name) AS role
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('update', 'patch')
  -- Changed: 201 says that the role was made, which is K8A-307's.
  AND response_code = 200
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch. All verbs on
    -- all resources of all groups, or of the core group.
    json_exists(request_object, '$..[?@.verbs[?@ == "*"] && @.resources[?@ == "*" || @ == "*/*"]
      && @.apiGroups[?@ == "*" || @ == ""]]')
    -- A JSON patch of parts of a rule: only the answer shows what it became. A label, or a rule taken
    -- away, widens nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?@.verbs[?@ == "*"]
        && @.resources[?@ == "*" || @ == "*/*"] && @.apiGroups[?@ == "*" || @ == ""]]')))
