/*
id: K8A-317
title: Service account changed roles or bindings
severity: low
attack: [T1098.006]
controls: [RBAC-2, RBAC-5]
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} changed who may do what: {{verb}} of {{resource}} {{object}} from {{source_ip}} ({{user_agent}}){{where_held}}"
false_positives: >-
  Operators that make roles for what they manage, and build systems that install charts with a token.
  Exempt them by user and user agent together.
respond: >-
  See what the account runs as and whether that writes roles by design. If not, take its rights away,
  and look at what it wrote.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, pod_name, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS object,
  CASE WHEN pod_name IS NULL THEN ', with a token that belongs to no pod' ELSE '' END AS where_held
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND user_name LIKE 'system:serviceaccount:%'
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
