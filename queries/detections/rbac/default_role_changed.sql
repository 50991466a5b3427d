/*
id: K8A-316
title: Default role or binding of the cluster changed or deleted
severity: high
attack: [T1098.006]
controls: [RBAC-1, RBAC-3]
key: [user_name, verb, resource, object]
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [update, patch, delete], stages: [ResponseComplete]}
describe: "{{user_name}} changed one of the cluster's own roles or bindings: {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: >-
  Hardening by hand, such as taking a default binding away from those who have not logged in.
respond: >-
  Compare it with the default: a restart of the API server adds what is missing to default roles and
  bindings, and never takes away what was added. Take it away by hand, and see who could use it.
*/
-- Everybody who is bound to view, edit or a role of the control plane has what is added to it. The
-- names are those that the API server makes, not all that begin with `system:`: add-ons have such
-- names too.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace, name,
  concat_ws('/', namespace, name) AS object
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('update', 'patch', 'delete')
  -- Done to one that was there.
  AND response_code = 200
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND regexp_like(name, concat('^(cluster-admin|admin|edit|view|system:(aggregate-to-(admin|edit|view)',
    '|auth-delegator|basic-user|certificates\.k8s\.io:.+|controller:[a-z-]+|discovery|heapster',
    '|kube-(aggregator|controller-manager|dns|scheduler)|kubelet-api-admin|monitoring',
    '|node|node-bootstrapper|node-problem-detector|node-proxier|persistent-volume-provisioner',
    '|public-info-viewer|service-account-issuer-discovery|volume-scheduler',
    '|:leader-locking-kube-(controller-manager|scheduler))',
    '|extension-apiserver-authentication-reader|system::extension-apiserver-authentication-reader)$'))
  -- An operator's own, made like a default one.
  AND (name LIKE 'system:controller:operator-lifecycle-manager' IS NOT TRUE)
