/*
id: K8A-313
title: Role that makes credentials written
severity: low
attack: [T1098.006, T1528]
controls: [RBAC-1, SA-2]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{role}}, which makes tokens or certificates, by {{verb}} from {{source_ip}}: {{rules}}"
false_positives: >-
  Vaults, secret operators and certificate approvers, when they are installed.
respond: >-
  Whoever may make tokens of any account or approve any certificate may become anybody. Ask for
  names of accounts and signers; see who is bound to the role.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role,
  left(coalesce(
    nullif(json_query(request_object, '$..[?
      (@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "serviceaccounts/token" || @ == "*/token"
        || @ == "serviceaccounts/*"]
        && @.verbs[?@ == "create" || @ == "*"] && !@.resourceNames[0])
      || (@.apiGroups[?@ == "certificates.k8s.io" || @ == "*"]
        && ((@.resources[?@ == "certificatesigningrequests/approval" || @ == "certificatesigningrequests/*"]
            && @.verbs[?@ == "update" || @ == "patch" || @ == "*"])
          || (@.resources[?@ == "signers"] && @.verbs[?@ == "approve" || @ == "sign" || @ == "*"]
            && (!@.resourceNames[0] || @.resourceNames[?match(@, "kubernetes[.]io/.*|[*]")]))))]'), '[]'),
    json_query(response_object, '$.rules[?
      (@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "serviceaccounts/token" || @ == "*/token"
        || @ == "serviceaccounts/*"]
        && @.verbs[?@ == "create" || @ == "*"] && !@.resourceNames[0])
      || (@.apiGroups[?@ == "certificates.k8s.io" || @ == "*"]
        && ((@.resources[?@ == "certificatesigningrequests/approval" || @ == "certificatesigningrequests/*"]
            && @.verbs[?@ == "update" || @ == "patch" || @ == "*"])
          || (@.resources[?@ == "signers"] && @.verbs[?@ == "approve" || @ == "sign" || @ == "*"]
            && (!@.resourceNames[0] || @.resourceNames[?match(@, "kubernetes[.]io/.*|[*]")]))))]')), 1000) AS rules
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization, with 403.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- A token of a named account is that account only; certificates are signed by signers, of which the
  -- API server's own make users and nodes.
  AND (
    -- Rules as such: of a whole object, of a merge patch, or as values of a JSON patch.
    json_exists(request_object, '$..[?
      (@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "serviceaccounts/token" || @ == "*/token"
        || @ == "serviceaccounts/*"]
        && @.verbs[?@ == "create" || @ == "*"] && !@.resourceNames[0])
      || (@.apiGroups[?@ == "certificates.k8s.io" || @ == "*"]
        && ((@.resources[?@ == "certificatesigningrequests/approval" || @ == "certificatesigningrequests/*"]
            && @.verbs[?@ == "update" || @ == "patch" || @ == "*"])
          || (@.resources[?@ == "signers"] && @.verbs[?@ == "approve" || @ == "sign" || @ == "*"]
            && (!@.resourceNames[0] || @.resourceNames[?match(@, "kubernetes[.]io/.*|[*]")]))))]')
    -- A JSON patch of parts of a rule: only the answer shows what it became. A rule that is taken
    -- away gives nothing.
    OR (json_exists(request_object, '$[?search(@.path, "^/rules/[^/]+/")
      && @.op != "remove" && @.op != "test"]')
      AND json_exists(response_object, '$.rules[?
      (@.apiGroups[?@ == "" || @ == "*"] && @.resources[?@ == "serviceaccounts/token" || @ == "*/token"
        || @ == "serviceaccounts/*"]
        && @.verbs[?@ == "create" || @ == "*"] && !@.resourceNames[0])
      || (@.apiGroups[?@ == "certificates.k8s.io" || @ == "*"]
        && ((@.resources[?@ == "certificatesigningrequests/approval" || @ == "certificatesigningrequests/*"]
            && @.verbs[?@ == "update" || @ == "patch" || @ == "*"])
          || (@.resources[?@ == "signers"] && @.verbs[?@ == "approve" || @ == "sign" || @ == "*"]
            && (!@.resourceNames[0] || @.resourceNames[?match(@, "kubernetes[.]io/.*|[*]")]))))]')))
