/*
id: K8A-311
title: Role that reaches nodes' kubelets through the API server written
severity: informational
attack: [T1098.006, T1609]
controls: [RBAC-1, NET-4]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{role}}, which reaches the kubelets of nodes, by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  Monitoring that reads kubelets; nodes/metrics and nodes/stats are enough for it.
respond: >-
  nodes/proxy runs commands in every pod of a node, past admission, and without a record when the kubelet
  itself is asked. Have it replaced by nodes/metrics, or see who is bound to the role.
*/
SELECT
  cluster, user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role,
  left(coalesce(
    nullif(json_query(request_object, '$..[?
      @.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "nodes/proxy" || @ == "*/proxy"
        || @ == "nodes/*"]
      && @.verbs[0]]'), '[]'),
    json_query(response_object, '$.rules[?
      @.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "nodes/proxy" || @ == "*/proxy"
        || @ == "nodes/*"]
      && @.verbs[0]]')), 1000) AS rules
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization, with 403.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Even get is enough to run commands, by WebSocket. Metrics, statistics and logs have names of their
  -- own and do not count.
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch.
    json_exists(request_object, '$..[?
      @.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "nodes/proxy" || @ == "*/proxy"
        || @ == "nodes/*"]
      && @.verbs[0]]')
    -- A JSON patch of parts of a rule: only the answer shows what it became. A rule that is taken
    -- away gives nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?
      @.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "nodes/proxy" || @ == "*/proxy"
        || @ == "nodes/*"]
      && @.verbs[0]]')))
