/*
id: K8A-322
title: One identity changes roles and bindings in bulk
severity: low
attack: [T1098.006]
controls: [RBAC-3, MON-2]
window: 10m
slide: 1m
params: {written: 60, deleted: 25}
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{written}} and deleted {{deleted}} roles and bindings in {{namespaces}} namespaces from {{source_ip}}"
false_positives: >-
  The installation or removal of a large platform, or a script that sets up tenants.
respond: >-
  Ask the person. If it was not them, revoke the credential; bindings that were deleted lock people
  out, so begin with putting those back.
*/
-- Objects, not requests: a client that writes one again and again does not count. A collection that is
-- deleted has no name and counts as one.
SELECT
  cluster, user_name, source_ip, min(credential_id) AS credential_id,
  count(DISTINCT CASE WHEN verb IN ('create', 'update', 'patch')
    THEN concat_ws('/', resource, coalesce(namespace, ''),
      coalesce(name, json_value(response_object, '$.metadata.name'), '')) END) AS written,
  count(DISTINCT CASE WHEN verb IN ('delete', 'deletecollection')
    THEN concat_ws('/', resource, coalesce(namespace, ''), coalesce(name, '')) END) AS deleted,
  count(DISTINCT namespace) AS namespaces,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT CASE WHEN verb IN ('create', 'update', 'patch')
    THEN concat_ws('/', resource, coalesce(namespace, ''),
      coalesce(name, json_value(response_object, '$.metadata.name'), '')) END) >= $written
  OR count(DISTINCT CASE WHEN verb IN ('delete', 'deletecollection')
    THEN concat_ws('/', resource, coalesce(namespace, ''), coalesce(name, '')) END) >= $deleted
