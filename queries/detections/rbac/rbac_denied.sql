/*
id: K8A-324
title: Change of a role or binding denied
severity: low
attack: [T1098.006]
controls: [API-4, RBAC-2]
key: [user_name, source_ip]
exempt: [control-plane, cloud]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [create, update, patch, delete, deletecollection, get], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} was denied to {{verb}} {{resource}} {{object}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Somebody who applies a folder of manifests with roles in it and may not write those.
respond: Ask the person what they wanted; if it was not them, revoke the credential.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace, name,
  concat_ws('/', namespace, name) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END AS acting_as
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  -- Clients get an object by its name before they patch it. Lists are what consoles show to everybody
  -- who may not see them.
  AND (verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
    OR (verb = 'get' AND name IS NOT NULL))
  AND response_code = 403 AND decision = 'forbid'
  -- Consoles and caches in pods ask for what they may not see, by name too.
  AND (verb = 'get' AND pod_name IS NOT NULL) IS NOT TRUE
  AND (user_name IS DISTINCT FROM 'system:anonymous')
