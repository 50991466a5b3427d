/*
id: K8A-309
title: Role that can raise its own rights written
severity: high
attack: [T1098.006]
controls: [RBAC-1, RBAC-5]
key: [user_name, resource, role]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{resource}} {{role}} escalate, bind, impersonate or all verbs on roles by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  The installation of operators that manage roles themselves, and of roles for administrators.
respond: >-
  Undo the change unless its owner confirms it; list who is bound to the role, and what they did
  since.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, verb, resource,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role,
  left(coalesce(
    nullif(json_query(request_object, '$..[?
      @.verbs[?@ == "*" || @ == "escalate" || @ == "bind" || @ == "impersonate"]]'), '[]'),
    json_query(request_object, '$[*].value')), 1000) AS rules
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization, with 403.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The API server writes its default roles itself when it starts.
  AND NOT is_system_user(user_name)
  -- The controller that gathers aggregated roles writes rules which others wrote before. Name and
  -- user agent together, for its account may escalate and is worth stealing.
  AND (user_name = 'system:serviceaccount:kube-system:clusterrole-aggregation-controller'
    AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch.
    json_exists(request_object, '$..[?
      @.verbs[?@ == "escalate" || @ == "bind" || @ == "impersonate"]
      || (@.verbs[?@ == "*"] && @.resources[?@ == "*" || @ == "roles" || @ == "clusterroles"]
        && @.apiGroups[?@ == "*" || @ == "rbac.authorization.k8s.io"])]')
    -- A JSON patch that adds a verb to a rule.
    OR json_exists(request_object, '$[?
      @.value == "escalate" || @.value == "bind" || @.value == "impersonate"
      || @.value[?@ == "escalate" || @ == "bind" || @ == "impersonate"]]')
    -- A JSON patch of parts of rules: only the answer shows what they became.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules")]')
      AND json_exists(response_object, '$.rules[?
        @.verbs[?@ == "escalate" || @ == "bind" || @ == "impersonate"]
        || (@.verbs[?@ == "*"] && @.resources[?@ == "*" || @ == "roles" || @ == "clusterroles"]
          && @.apiGroups[?@ == "*" || @ == "rbac.authorization.k8s.io"])]')))
