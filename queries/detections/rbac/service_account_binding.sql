/*
id: K8A-305
title: Service account given a role
severity: informational
attack: [T1098.006]
controls: [RBAC-2, RBAC-6]
key: [user_name, resource, binding]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{role}} to the accounts {{subjects}} {{reach}} by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: Every installation of a workload that talks to the API server.
respond: >-
  Nothing, unless something else points at it; then see what runs under the account and what it did.
*/
SELECT
  cluster, user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  coalesce(json_value(request_object, '$.roleRef.name'),
    json_value(response_object, '$.roleRef.name'), 'a role') AS role,
  translate(
    json_query(request_object, '$..[?@.kind == "ServiceAccount"]["namespace", "name"]'),
    ',[]"', ' ') AS subjects,
  CASE WHEN resource = 'clusterrolebindings' THEN 'in the whole cluster'
    -- All accounts of the namespace itself, and none of another.
    WHEN replace(json_query(request_object, '$..[?@.kind == "ServiceAccount"].namespace'),
      concat('"', namespace, '"'), '') SIMILAR TO '\[,*\]' THEN 'in their namespace'
    ELSE 'in a namespace that is not theirs' END AS reach
FROM events
WHERE resource IN ('clusterrolebindings', 'rolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission, validation or a conflict may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$..[?@.kind == "ServiceAccount" && @.name]')
