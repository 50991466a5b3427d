/*
id: K8A-321
title: Attempt to grant more rights than one has was refused
severity: medium
attack: [T1098.006, T1068]
controls: [RBAC-1, RBAC-5, API-4]
key: [user_name, source_ip]
exempt: [control-plane, cloud]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} tried by {{verb}} of {{resource}} {{object}} to grant rights that it has not, from {{source_ip}}"
false_positives: >-
  A namespace's owner who installs a chart that wants more than they have, or a delivery tool whose
  own role was not widened first.
respond: >-
  Ask what they were about to install. If nothing, revoke the credential: somebody looked for a way
  from it to more, so see what else it tried.
*/
-- The API server's own check, after authorization allowed the write: the decision says allow, the code
-- 403, and only the message says why.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace, name,
  concat_ws('/', namespace, name) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END AS acting_as
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  AND response_code = 403
  -- Asking what would happen is trying too: a dry run is refused in the same way.
  AND response_message LIKE '%attempting to grant RBAC permissions not currently held%'
