/*
id: K8A-315
title: Default role enlarged by aggregation
severity: high
attack: [T1098.006]
controls: [RBAC-1, RBAC-3]
key: [user_name, role]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} made clusterrole {{role}} part of {{aggregated}} by {{verb}} from {{source_ip}}, and so gave its rights to all who are bound to that"
false_positives: >-
  Operators add the rights on their own kinds to admin, edit and view; that does not count. One that
  adds secrets or roles to them is badly made rather than hostile, and as dangerous.
respond: >-
  Take the label away: the controller takes the rights out of the default role at once. See who is
  bound to admin, edit or view and used what they should not have.
*/
-- A controller copies the rules of labelled cluster roles into the default roles, so that nobody needs
-- to touch those, nor any binding.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS role,
  CASE WHEN json_exists(request_object, '$..aggregationRule') THEN 'itself and every other role'
    WHEN regexp_like(coalesce(response_object, request_object), 'aggregate-to-view"\s*:\s*"true')
    THEN 'view, edit and admin'
    WHEN regexp_like(coalesce(response_object, request_object), 'aggregate-to-edit"\s*:\s*"true')
    THEN 'edit and admin'
    ELSE 'admin' END AS aggregated
FROM events
WHERE resource = 'clusterroles'
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The default roles are gathered from roles of the API server's own, which bear these labels too.
  AND (name LIKE 'system:aggregate-to-%' IS NOT TRUE)
  AND (
    -- The request sets a label or rules; what the role is then, the answer shows where it is logged.
    ((json_exists(request_object, '$.metadata.labels["rbac.authorization.k8s.io/aggregate-to-view",
        "rbac.authorization.k8s.io/aggregate-to-edit", "rbac.authorization.k8s.io/aggregate-to-admin"]')
      OR json_exists(request_object, '$[?search(@.path, "^/(metadata/labels|rules)")
        && @.op != "remove"]')
      OR json_exists(request_object, '$.rules'))
    AND (
      -- Rights that none of the three has: all resources, roles, nodes, admission, certificates.
      (json_exists(coalesce(response_object, request_object), '$.metadata.labels[
          "rbac.authorization.k8s.io/aggregate-to-view", "rbac.authorization.k8s.io/aggregate-to-edit",
          "rbac.authorization.k8s.io/aggregate-to-admin"]')
        AND json_exists(coalesce(response_object, request_object), '$.rules[?
          (@.resources[?@ == "*" || @ == "*/*"] && @.apiGroups[?@ == "*" || @ == ""])
          || @.verbs[?@ == "escalate" || @ == "bind"]
          || (@.verbs[?@ == "impersonate"] && @.resources[?@ == "users" || @ == "groups" || @ == "*"])
          || (@.apiGroups[?@ == "certificates.k8s.io" || @ == "admissionregistration.k8s.io"
            || @ == "apiregistration.k8s.io"]
            && @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "approve" || @ == "sign"
              || @ == "*"])
          || (@.apiGroups[?@ == ""] && @.resources[?@ == "nodes/proxy" || @ == "nodes/*"
            || @ == "persistentvolumes"]
            && @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*" || @ == "get"])]'))
      -- Rights that edit has not: writing roles.
      OR (json_exists(coalesce(response_object, request_object), '$.metadata.labels[
          "rbac.authorization.k8s.io/aggregate-to-view", "rbac.authorization.k8s.io/aggregate-to-edit"]')
        AND json_exists(coalesce(response_object, request_object), '$.rules[?
          @.apiGroups[?@ == "rbac.authorization.k8s.io"] && @.verbs[?@ == "create" || @ == "update"
            || @ == "patch" || @ == "*"]]'))
      -- Rights that view has not: secrets, sessions, tokens, workloads.
      OR (json_exists(coalesce(response_object, request_object),
          '$.metadata.labels["rbac.authorization.k8s.io/aggregate-to-view"]')
        AND json_exists(coalesce(response_object, request_object), '$.rules[?
          (@.apiGroups[?@ == ""] && @.resources[?@ == "secrets" || @ == "pods/exec"
            || @ == "pods/attach" || @ == "pods/portforward" || @ == "pods/ephemeralcontainers"
            || @ == "pods/*" || @ == "serviceaccounts/token"])
          || (@.apiGroups[?@ == "" || @ == "apps" || @ == "batch"]
            && @.resources[?@ == "pods" || @ == "deployments" || @ == "daemonsets"
              || @ == "statefulsets" || @ == "replicasets" || @ == "jobs" || @ == "cronjobs"
              || @ == "*"]
            && @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*"])]'))))
    -- The other way round: a role that gathers the rules of all others.
    OR json_exists(request_object, '$.aggregationRule.clusterRoleSelectors[?
      !@.matchLabels && !@.matchExpressions]')
    OR json_exists(request_object, '$[?search(@.path, "^/aggregationRule") && @.op != "remove"]'))
