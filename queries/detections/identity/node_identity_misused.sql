/*
id: K8A-122
title: Identity of a node used for what no kubelet does
severity: high
attack: [T1078, T1552.007]
controls: [SEC-1, NET-4]
key: [user_name, source_ip]
dedup: 6h
exempt: [identity-nodes]
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} was used by {{user_agent}} from {{source_ip}} to {{verb}} {{what}}, answered {{response_code}}"
false_positives: >-
  An administrator on the node who borrows the kubelet's credential (kubelet.conf), and scripts that
  drain a node with it when its machine is about to go.
respond: >-
  Whoever has this credential was root on the node, or got its kubelet's files through a pod or the
  cloud's metadata service. Cordon the node, treat its pods' secrets and tokens as known, and
  replace it.
*/
-- Tried counts as much as done: the credential is out either way. Two ways to tell: another program
-- than a kubelet, and ConfigMaps asked for at large, which a kubelet never does (it asks for those
-- of its pods, one by one, by name or by a field selector that names one).
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, request_uri, credential_id, response_code,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE user_name LIKE 'system:node:%'
  -- `kubelet.exe` is one of Windows.
  AND (NOT regexp_like(user_agent, '^kubelet(\.exe)?/') OR user_agent IS NULL
    OR resource = 'configmaps' AND name IS NULL)
  -- Secrets are told by K8A-209.
  AND (resource = 'secrets' AND api_group IS NULL) IS NOT TRUE
  -- One stage of each request: these kinds are told when they start.
  AND (stage = CASE
    WHEN verb = 'watch' OR subresource IN ('exec', 'attach', 'portforward', 'proxy', 'log')
    THEN 'ResponseComplete' ELSE 'ResponseStarted' END) IS NOT TRUE
  AND (stage = 'RequestReceived') IS NOT TRUE
