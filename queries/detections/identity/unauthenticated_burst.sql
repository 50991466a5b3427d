/*
id: K8A-106
title: Burst of failed authentications from one address
severity: medium
attack: [T1110.001]
controls: [API-4]
window: 5m
slide: 30s
dedup: 6h
params: {requests: 20}
needs: {level: Metadata, stages: [ResponseStarted]}
describe: "{{requests}} requests from {{source_ip}} failed authentication, asking for {{paths}} paths as {{user_agent}}"
false_positives: >-
  A client whose token or certificate has expired and that tries on and on; it asks for the same few
  paths. Behind a proxy or load balancer many clients share one address.
respond: >-
  Find what runs at the address. If it is yours, renew its credential; if not, block it and look for
  requests of the same address that succeeded.
*/
-- A request that fails authentication has no user, and one event only, of stage ResponseStarted. A
-- 401 with a user comes from a backend behind the API server.
SELECT
  cluster, source_ip, count(*) AS requests, count(DISTINCT split_part(request_uri, '?', 1)) AS paths,
  min(user_agent) AS user_agent, count(DISTINCT user_agent) AS user_agents
FROM events
WHERE response_code = 401 AND user_name IS NULL
GROUP BY cluster, source_ip
HAVING count(*) >= $requests
