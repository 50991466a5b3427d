/*
id: K8A-325
title: Group made cluster-admin with the cluster's first certificate
severity: low
attack: [T1098.006]
controls: [RBAC-2, API-3]
key: [user_name, resource, binding]
exempt: [rbac-installers]
needs: {level: Request, resources: [clusterrolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} bound cluster-admin to {{subjects}} by {{verb}} of {{resource}} {{binding}} from {{source_ip}}, with the certificate that the cluster was made with"
false_positives: The set-up of a cluster; any other day it is worth asking.
respond: >-
  If the cluster is not being set up, ask who has the certificate (admin.conf), delete the binding, and
  see what the group's members did since. The certificate cannot be revoked: replace the authority.
*/
-- All other bindings to cluster-admin are K8A-301's: this is what its list rbac-first-administrators
-- leaves to this one.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS binding,
  translate(json_query(request_object, '$.subjects[*]["kind", "name"]'), ',[]"', ' ') AS subjects
FROM events
WHERE resource = 'clusterrolebindings'
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  AND response_code = 201
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND user_name IN ('kubernetes-admin', 'kubernetes-super-admin') AND credential_id LIKE 'X509SHA256=%'
  AND (has_group(user_groups, 'system:masters') OR has_group(user_groups, 'kubeadm:cluster-admins'))
  AND impersonated_user IS NULL
  AND json_value(request_object, '$.roleRef.name') = 'cluster-admin'
  AND json_exists(request_object, '$.subjects[0]')
  AND NOT json_exists(request_object, '$.subjects[?@.kind != "Group" || search(@.name, "^system:")]')
