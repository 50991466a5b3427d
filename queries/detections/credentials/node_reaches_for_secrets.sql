/*
id: K8A-209
title: A node's credential reaches for secrets as no kubelet does
severity: high
attack: [T1552.007, T1078.004]
controls: [SEC-1, API-4]
key: [user_name, source_ip]
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch, create, update, patch, delete, deletecollection], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} asked for {{what}} by {{verb}} from {{source_ip}} ({{user_agent}}), answered {{response_code}}"
false_positives: >-
  An administrator who tries a command with a kubelet's kubeconfig on a node; a distribution whose
  kubelet goes by another program name.
respond: >-
  Whoever has the kubelet's certificate controls its node: look for what runs there, cordon it, and
  rebuild it with a new certificate. Rotate the secrets of the pods that it ran.
*/
-- Denied or not: that it is asked for is what tells.
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, namespace, name, response_code, decision,
  CASE WHEN name IS NOT NULL THEN concat('secret ', namespace, '/', name)
    WHEN namespace IS NOT NULL THEN concat('all secrets of ', namespace)
    ELSE 'all secrets of the cluster' END AS what
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND user_name LIKE 'system:node:%'
  AND stage = CASE WHEN verb = 'watch' AND response_code < 300
    THEN 'ResponseStarted' ELSE 'ResponseComplete' END
  AND (
    -- A kubelet gets, lists and watches each secret of its pods by name, all else is not its work:
    -- whoever says to be one too.
    verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
    -- (what it lists and watches by a selector of one name is told as that name's)
    OR (verb IN ('list', 'watch') AND name IS NULL)
    -- The programs that hold a kubelet.
    OR (verb IN ('get', 'list', 'watch') AND regexp_like(coalesce(user_agent, ''),
      '^(kubelet|hyperkube|kubelite|k3s|k3s-agent|rke2|k0s)(\.exe)?/') IS NOT TRUE))
