/*
id: K8A-314
title: Role that writes workloads, admission or roles in the whole cluster written
severity: informational
attack: [T1098.006]
controls: [RBAC-1]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{role}}, which writes workloads, admission webhooks or roles, by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  Controllers that make pods, and delivery tools.
respond: >-
  Nothing, unless something else points at it; then see who is bound to the role.
*/
SELECT
  cluster, user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role,
  left(coalesce(
    nullif(json_query(request_object, '$..[?
      @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*"]
      && ((@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "pods" || @ == "replicationcontrollers"])
        || (@.apiGroups[?@ == "apps" || @ == "batch" || @ == "*"]
          && @.resources[?@ == "deployments" || @ == "daemonsets" || @ == "statefulsets"
            || @ == "replicasets" || @ == "jobs" || @ == "cronjobs" || @ == "*"])
        || (@.apiGroups[?@ == "admissionregistration.k8s.io"] && @.resources[0])
        || (@.apiGroups[?@ == "rbac.authorization.k8s.io"] && @.resources[0]))]'), '[]'),
    json_query(response_object, '$.rules[?
      @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*"]
      && ((@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "pods" || @ == "replicationcontrollers"])
        || (@.apiGroups[?@ == "apps" || @ == "batch" || @ == "*"]
          && @.resources[?@ == "deployments" || @ == "daemonsets" || @ == "statefulsets"
            || @ == "replicasets" || @ == "jobs" || @ == "cronjobs" || @ == "*"])
        || (@.apiGroups[?@ == "admissionregistration.k8s.io"] && @.resources[0])
        || (@.apiGroups[?@ == "rbac.authorization.k8s.io"] && @.resources[0]))]')), 1000) AS rules
FROM events
WHERE resource = 'clusterroles'
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization, with 403.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- In the whole cluster: a role within a namespace writes that namespace's workloads, as those of
  -- developers do. All verbs on roles, escalate and bind are K8A-309's.
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch.
    json_exists(request_object, '$..[?
      @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*"]
      && ((@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "pods" || @ == "replicationcontrollers"])
        || (@.apiGroups[?@ == "apps" || @ == "batch" || @ == "*"]
          && @.resources[?@ == "deployments" || @ == "daemonsets" || @ == "statefulsets"
            || @ == "replicasets" || @ == "jobs" || @ == "cronjobs" || @ == "*"])
        || (@.apiGroups[?@ == "admissionregistration.k8s.io"] && @.resources[0])
        || (@.apiGroups[?@ == "rbac.authorization.k8s.io"] && @.resources[0]))]')
    -- A JSON patch of parts of a rule: only the answer shows what it became. A rule that is taken
    -- away gives nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?
      @.verbs[?@ == "create" || @ == "update" || @ == "patch" || @ == "*"]
      && ((@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "pods" || @ == "replicationcontrollers"])
        || (@.apiGroups[?@ == "apps" || @ == "batch" || @ == "*"]
          && @.resources[?@ == "deployments" || @ == "daemonsets" || @ == "statefulsets"
            || @ == "replicasets" || @ == "jobs" || @ == "cronjobs" || @ == "*"])
        || (@.apiGroups[?@ == "admissionregistration.k8s.io"] && @.resources[0])
        || (@.apiGroups[?@ == "rbac.authorization.k8s.io"] && @.resources[0]))]')))
