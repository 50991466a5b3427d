/*
id: K8A-418
title: Kubelet asked through the API server
severity: medium
attack: [T1613, T1609]
controls: [NET-4, RBAC-1]
key: [user_name, impersonated_user]
needs: {level: Metadata, resources: [nodes/proxy], stages: [ResponseStarted]}
exempt: [control-plane, cloud, platform]
describe: "{{user_name}}{{acting_as}} sent {{verb}} {{path}} to the kubelet of node {{name}} through the API server from {{source_ip}}, answered {{response_code}}"
false_positives: >-
  An administrator who reads a kubelet's configuration or log. Scraping metrics, statistics and
  health does not count.
respond: >-
  Ask the person, or the owner of the service account. Who may use nodes/proxy, even with get alone,
  may run commands in every pod of the node, past admission and this log: take the right away.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  verb, response_code, left(regexp_replace(request_uri,
    '^/api/v1/nodes/[^/?]*/proxy/*', ''),
    300) AS path
FROM events
WHERE resource = 'nodes' AND subresource = 'proxy' AND api_group IS NULL
  -- Whatever the answer was: from here on it is the kubelet's, and its refusals are answers too. A
  -- proxied request is told of when it starts and once more when it ends.
  AND decision = 'allow' AND stage = 'ResponseStarted'
  -- What monitoring reads, written plainly: the path to its end, the node's name without a port of
  -- somebody else. Whoever adds `..` or escapes is not scraping.
  AND (verb = 'get' AND regexp_like(request_uri, '(?x)
    ^/api/v1/nodes/(https?:)?[^/:?%]+(:10250|:10255)?/proxy/
    (metrics(/cadvisor|/probes|/resource|/slis)?|stats(/summary)?|healthz|spec)/?(\?|$)'))
    IS NOT TRUE
  -- Running commands by it is worse, and told as such.
  AND NOT regexp_like(split_part(request_uri, '?', 1), '(?xi)
    ^/api/v1/nodes/[^/]+/proxy/+(run|exec|attach|portforward|cri|checkpoint)(/|$)
    | /proxy/.*(%|/\.\.?(/|$)|//)')
