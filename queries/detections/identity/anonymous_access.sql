/*
id: K8A-101
title: Anonymous request allowed
severity: high
attack: [T1078.001, T1190]
controls: [API-1]
key: [source_ip]
exempt: [identity-anonymous]
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "anonymous {{verb}} of {{request_uri}} from {{source_ip}} ({{user_agent}}) was allowed, answered {{response_code}}"
false_positives: >-
  A load balancer or monitor that reads more than the health and version paths without credentials,
  for example /metrics. Give it an identity, or exempt its address and path together.
respond: >-
  Find the binding of system:anonymous or system:unauthenticated (authorization_reason names it) and
  delete it, see what else the address asked for, and rotate what it could read. Then turn anonymous
  requests off but for health paths (AuthenticationConfiguration, anonymous.conditions).
*/
SELECT
  cluster, source_ip, user_agent, verb, request_uri, response_code, resource, namespace, name,
  decision_reason AS authorization_reason
FROM events
WHERE (user_name = 'system:anonymous' OR has_group(user_groups, 'system:unauthenticated'))
  AND decision = 'allow'
  -- One stage of each request: these kinds are told when they start, for they may never complete.
  -- Sources that know no stages tell of a request once.
  AND (stage = CASE
    WHEN verb = 'watch' OR subresource IN ('exec', 'attach', 'portforward', 'proxy', 'log')
    THEN 'ResponseComplete' ELSE 'ResponseStarted' END) IS NOT TRUE
  -- What the API server shows to everybody: health, version, key discovery, API discovery. The
  -- path must end where it seems to, whatever its query says.
  AND (resource IS NULL AND regexp_like(coalesce(request_uri, '/version'),
    '^/(healthz|livez|readyz|version|openid|\.well-known|api|apis|openapi)(/|\?|$)'
  )) IS NOT TRUE
  -- `kubeadm join` reads this one object before it has a credential.
  AND (resource = 'configmaps' AND verb = 'get'
    AND namespace = 'kube-public' AND name = 'cluster-info') IS NOT TRUE
