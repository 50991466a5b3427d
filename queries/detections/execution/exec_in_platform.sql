/*
id: K8A-427
title: Command run in a namespace of the platform
severity: low
attack: [T1609]
controls: [API-6, WL-9]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [pods/exec, pods/attach], verbs: [create, get], stages: [ResponseStarted]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Administrators who look after the network, the storage or the delivery. Programs with the token of
  their own pod and without a terminal do not count.
respond: >-
  Ask the person. Service accounts in these namespaces can mostly write to the whole cluster: if it
  was not them, revoke the credential and what the pod's account holds.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  coalesce(left(exec_command(request_uri), 500), '(attached)') AS command
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach') AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
  -- Of the cluster itself, and of what has rights over all of it.
  AND regexp_like(namespace, '(?x) ^(kube-system | kube-public | kube-node-lease
    | (openshift|gke|gmp|calico|tigera|cilium|istio|linkerd|gatekeeper|kyverno|falco|argocd|argo-cd
      |flux|vault|external-secrets|sealed-secrets|cert-manager|velero|cattle|crossplane)(-.*)?)$')
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND url_param(request_uri, 'tty') IS NULL) IS NOT TRUE
