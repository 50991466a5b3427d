/*
id: K8A-309
title: Role that can raise its own rights written
severity: high
attack: [T1098.006]
controls: [RBAC-1, RBAC-5]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{resource}} {{role}} escalate, bind, impersonate or all verbs on roles by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  The installation of operators that manage roles themselves, and of roles for administrators.
respond: >-
  Undo the change unless its owner confirms it; list who is bound to the role, and what they did
  since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
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
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch. With names,
    -- as roles of namespaces' owners have them (bind view and edit), only if they lead to more.
    json_exists(request_object, '$..[?
      (@.verbs[?@ == "escalate" || @ == "bind" || @ == "impersonate"]
        && (!@.resourceNames[0]
          || @.resourceNames[?match(@, "cluster-admin|kubernetes-admin|kubeadm:.*|system:.*")]))
      || (@.verbs[?@ == "*"] && !@.resourceNames[0]
        && @.resources[?@ == "*" || @ == "roles" || @ == "clusterroles"]
        && @.apiGroups[?@ == "*" || @ == "rbac.authorization.k8s.io"])]')
    -- A JSON patch that adds a verb to a rule.
    OR json_exists(request_object, '$[?
      search(@.path, "^/rules/[^/]+/verbs") && @.op != "remove" && @.op != "test"
      && (@.value == "escalate" || @.value == "bind" || @.value == "impersonate"
        || @.value[?@ == "escalate" || @ == "bind" || @ == "impersonate"])]')
    -- A JSON patch of parts of rules: only the answer shows what they became. A rule that is taken
    -- away raises nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?
        (@.verbs[?@ == "escalate" || @ == "bind" || @ == "impersonate"]
          && (!@.resourceNames[0]
            || @.resourceNames[?match(@, "cluster-admin|kubernetes-admin|kubeadm:.*|system:.*")]))
        || (@.verbs[?@ == "*"] && !@.resourceNames[0]
          && @.resources[?@ == "*" || @ == "roles" || @ == "clusterroles"]
          && @.apiGroups[?@ == "*" || @ == "rbac.authorization.k8s.io"])]')))
