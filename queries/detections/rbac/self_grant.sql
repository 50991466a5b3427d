/*
id: K8A-306
title: Identity gave a role to itself
severity: high
attack: [T1098.006, T1078]
controls: [RBAC-2, RBAC-5]
key: [user_name, resource, binding]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} gave {{role}} to itself by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: >-
  On managed clusters whose owner has rights by the cloud alone, guides begin with binding oneself to
  cluster-admin. Operators that write their own roles when they start; exempt them by user and user
  agent together.
respond: >-
  Ask the person why the rights they had were not enough. If it was not them, delete the binding,
  revoke the credential, and see what it did with the role.
*/
-- One who may bind or escalate needs no help to have any role; one who has the role already makes sure
-- to keep it when the first grant is found.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  coalesce(json_value(request_object, '$.roleRef.name'),
    json_value(response_object, '$.roleRef.name'), 'a role') AS role,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END AS acting_as
FROM events
WHERE resource IN ('clusterrolebindings', 'rolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission, validation or a conflict may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Subjects at any depth: of a whole object, of a merge patch, or values of a JSON patch. The one who
  -- authenticated is meant, whoever they acted as. As JSON texts, quoted, so that no name holds another.
  AND (has_group(json_query(request_object, '$..[?@.kind == "User"].name'), user_name)
    OR (user_name LIKE 'system:serviceaccount:%'
      AND strpos(json_query(request_object, '$..[?@.kind == "ServiceAccount"]["namespace", "name"]'),
        concat('"', split_part(user_name, ':', 3), '","', split_part(user_name, ':', 4), '"')) > 0)
    -- A group of one's own, but not those that everybody is in: they are K8A-104's and K8A-304's.
    OR (array_has_any(json_get_array(user_groups), json_get_array(json_query(request_object,
        '$..[?@.kind == "Group" && !search(@.name, "^system:")].name')))
      -- Administrators by certificate have all rights anyway, and set up their own group.
      AND has_group(user_groups, 'system:masters') IS NOT TRUE))
