/*
id: K8A-312
title: Role that reads secrets written
severity: informational
attack: [T1098.006, T1552.007]
controls: [RBAC-1, SEC-1]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{role}}, which reads secrets, by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  Nearly every operator; it is a record, not an alarm.
respond: >-
  Nothing, unless something else points at it; then see who is bound to the role. Ask for names
  where few secrets are meant.
*/
SELECT
  cluster, user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role,
  left(coalesce(
    nullif(json_query(request_object, '$..[?
      @.apiGroups[?@ == "" || @ == "*"] && !@.resourceNames[0]
      && ((@.resources[?@ == "secrets"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch" || @ == "*"])
        || (@.resources[?@ == "*"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch"]))]'), '[]'),
    json_query(response_object, '$.rules[?
      @.apiGroups[?@ == "" || @ == "*"] && !@.resourceNames[0]
      && ((@.resources[?@ == "secrets"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch" || @ == "*"])
        || (@.resources[?@ == "*"] && @.verbs[?@ == "get" || @ == "list"
          || @ == "watch"]))]')), 1000) AS rules
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization, with 403.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Read: list and watch give the values as get does. With names it is the few that are named.
  -- Everything at once is K8A-307's.
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch.
    json_exists(request_object, '$..[?
      @.apiGroups[?@ == "" || @ == "*"] && !@.resourceNames[0]
      && ((@.resources[?@ == "secrets"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch" || @ == "*"])
        || (@.resources[?@ == "*"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch"]))]')
    -- A JSON patch of parts of a rule: only the answer shows what it became. A rule that is taken
    -- away gives nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?
      @.apiGroups[?@ == "" || @ == "*"] && !@.resourceNames[0]
      && ((@.resources[?@ == "secrets"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch" || @ == "*"])
        || (@.resources[?@ == "*"] && @.verbs[?@ == "get" || @ == "list" || @ == "watch"]))]')))
