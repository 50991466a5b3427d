/*
id: K8A-303
title: Role or binding written or deleted
severity: informational
attack: [T1098.006]
controls: [RBAC-2, RBAC-3]
key: [user_name, verb, resource, object]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} changed who may do what: {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: Every installation and every new colleague; it is a record, not an alarm.
respond: Nothing, unless something else points at the identity.
*/
SELECT
  cluster, user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  coalesce(nullif(concat_ws('/', namespace,
    coalesce(name, json_value(response_object, '$.metadata.name'))), ''),
    'of the whole cluster') AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END AS acting_as
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
