/*
id: K8A-419
title: Command sent to a kubelet past the API server's own exec
severity: high
attack: [T1609, T1611, T1685]
controls: [NET-4, WL-9, RBAC-1]
key: [user_name, impersonated_user, name]
needs: {level: Metadata, resources: [nodes/proxy], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} sent {{verb}} {{path}} to the kubelet of node {{name}} from {{source_ip}}, answered {{response_code}}"
false_positives: >-
  Tests of a kubelet. No ordinary client runs commands this way.
respond: >-
  Revoke the credential and the right to nodes/proxy unless its owner confirms it at once. The path
  names namespace, pod and container, the query the command; what else was done on the connection is
  in no log. Treat the pods of the node as known to the attacker.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  verb, response_code, left(regexp_replace(request_uri,
    '^/api/v1/nodes/[^/?]*/proxy/*', ''),
    300) AS path,
  left(coalesce(exec_command(request_uri), url_param(request_uri, 'cmd'), ''), 500) AS command
FROM events
WHERE resource = 'nodes' AND subresource = 'proxy' AND api_group IS NULL
  -- Whatever the answer was: from here on it is the kubelet's, and its refusals are answers too. A
  -- proxied request is told of when it starts and once more when it ends.
  AND decision = 'allow' AND stage = 'ResponseStarted'
  -- The kubelet's doors into containers, by WebSocket with get as well; a checkpoint is a copy of a
  -- container's memory. A path that hides where it leads is taken for one of them.
  AND regexp_like(split_part(request_uri, '?', 1), '(?xi)
    ^/api/v1/nodes/[^/]+/proxy/+(run|exec|attach|portforward|cri|checkpoint)(/|$)
    | /proxy/.*(%|/\.\.?(/|$)|//)')
