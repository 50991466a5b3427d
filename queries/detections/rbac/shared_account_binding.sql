/*
id: K8A-304
title: Rights given to a namespace's default account or to all service accounts
severity: medium
attack: [T1098.006, T1078.001]
controls: [RBAC-2, RBAC-4]
key: [user_name, resource, binding]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{role}} to {{subjects}}, which pods have without asking for it, by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: >-
  Charts and guides that spare themselves an account of their own. It works, and every other pod of
  the namespace has the same rights from then on.
respond: >-
  Make the workload an account of its own and bind that. If nobody knows the binding, delete it and
  see what the account did since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  coalesce(json_value(request_object, '$.roleRef.name'),
    json_value(response_object, '$.roleRef.name'), 'a role') AS role,
  translate(
    json_query(request_object, '$..[?(@.kind == "ServiceAccount" && @.name == "default")
      || (@.kind == "Group" && search(@.name, "^system:serviceaccounts(:|$)"))]["namespace", "name"]'),
    ',[]"', ' ') AS subjects
FROM events
WHERE resource IN ('clusterrolebindings', 'rolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission, validation or a conflict may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- At any depth: of a whole object, of a merge patch, or a value of a JSON patch. A patch that does
  -- not name such a subject does not add one.
  AND json_exists(request_object, '$..[?(@.kind == "ServiceAccount" && @.name == "default")
    || (@.kind == "Group" && search(@.name, "^system:serviceaccounts(:|$)"))]')
  -- Roles that are made for everybody: reading what is no secret, pulling images, finding the keys of
  -- tokens, and pod security policies of old clusters.
  AND regexp_like(
    coalesce(json_value(request_object, '$.roleRef.name'),
      json_value(response_object, '$.roleRef.name'), ''),
    '^(view|system:image-puller|system:service-account-issuer-discovery|.*psp.*)$') IS NOT TRUE
