/*
id: K8A-307
title: Role that may do everything created
severity: medium
attack: [T1098.006]
controls: [RBAC-1]
key: [user_name, resource, role]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [roles, clusterroles], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} made {{resource}} {{role}} with every verb on every resource by {{verb}} from {{source_ip}}"
false_positives: >-
  The installation of a delivery tool or of another platform that manages everything. Roles with all
  verbs on the resources of one API group of their own do not count.
respond: >-
  Delete the role unless its owner confirms it, and see who is bound to it: whoever may name it in a
  binding gives away the cluster, or the namespace, without cluster-admin being mentioned.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'))) AS role
FROM events
WHERE resource IN ('roles', 'clusterroles')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Made, by whatever verb: server-side apply makes with a patch, and says 201. Changes of an
  -- existing role are K8A-308's. Refused escalations answer 403 after authorization.
  AND response_code = 201
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- All verbs on all resources of all groups, or of the core group, in which secrets and pods are.
  AND json_exists(request_object, '$.rules[?@.verbs[?@ == "*"] && @.resources[?@ == "*" || @ == "*/*"]
    && @.apiGroups[?@ == "*" || @ == ""]]')
