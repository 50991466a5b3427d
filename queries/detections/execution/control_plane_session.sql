/*
id: K8A-404
title: Session in a control plane pod, or a shell in kube-system
severity: medium
attack: [T1609, T1611]
controls: [API-6, ETCD-1, WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec, pods/attach, pods/portforward], verbs: [create, get], stages: [ResponseStarted]}
exempt: [platform]
describe: "{{user_name}}{{acting_as}} opened a session ({{subresource}} {{command}}) in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  An administrator at work on the cluster itself. Asking etcd for its health and members does not
  count, nor does a diagnostic command in another pod of kube-system.
respond: >-
  Ask the person. If it was not them, treat what the pod holds as known: the keys of the cluster in
  the API server's and controller manager's, every secret in etcd's; elsewhere in kube-system the
  pod's service account and mostly its node.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name, subresource,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  left(coalesce(exec_command(request_uri), ''), 500) AS command
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach', 'portforward') AND api_group IS NULL
  AND namespace IN ('kube-system', 'openshift-etcd', 'openshift-kube-apiserver',
    'openshift-kube-controller-manager', 'openshift-kube-scheduler', 'openshift-oauth-apiserver')
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
  AND (
    -- Whoever is in here holds the cluster. Questions about etcd's health are how it is kept well.
    (regexp_like(name,
        '^(etcd|kube-apiserver|kube-controller-manager|kube-scheduler|cloud-controller-manager)-')
      AND regexp_like(exec_command(request_uri), '(?x)
        ^((ba|da|a)?sh\s-c\s)?([A-Z_]+=[^\s;|&$`<>]+\s)*(/[^\s;|&$`<>]*/)?
        etcdctl(\s+-[^\s;|&$`<>]+(\s+[^-\s;|&$`<>][^\s;|&$`<>]*)?)*
        \s+(endpoint\s+(health|status|hashkv)|member\s+list|alarm\s+list|version)
        (\s+-[^\s;|&$`<>]+(\s+[^-\s;|&$`<>][^\s;|&$`<>]*)?)*\s*$') IS NOT TRUE)
    -- A shell to type in.
    OR (subresource = 'exec' AND url_param(request_uri, 'stdin') NOT IN ('false', '0')
      AND regexp_like(exec_command(request_uri), '^(/\S*/)?(ba|da|a|z|k|c|tc|fi)?sh(\s|$)'))
    OR (subresource = 'attach' AND url_param(request_uri, 'stdin') NOT IN ('false', '0')))
