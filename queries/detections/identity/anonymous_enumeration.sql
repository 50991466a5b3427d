/*
id: K8A-105
title: Somebody without credentials looks for what is open
severity: low
attack: [T1613, T1190]
controls: [API-1, HUNT-1]
window: 10m
slide: 1m
dedup: 6h
params: {distinct_paths: 5}
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{source_ip}} ({{user_agent}}) asked for {{paths}} different paths without credentials, {{allowed}} of {{requests}} requests were allowed"
false_positives: >-
  An API server that the Internet can reach is scanned daily. From an address of your own it is a
  scanner that should be known, or somebody inside.
respond: >-
  From inside: find the machine. From outside: let only known networks reach the API server.
*/
-- Different paths, not tries. Those that everybody may see (health, version, discovery) are what
-- probes and clients ask for.
SELECT
  cluster, source_ip, count(*) AS requests, min(user_agent) AS user_agent,
  count(DISTINCT split_part(request_uri, '?', 1)) AS paths,
  count(*) FILTER (WHERE decision = 'allow') AS allowed
FROM events
WHERE user_name = 'system:anonymous' AND stage = 'ResponseComplete'
  AND (resource IS NULL AND regexp_like(
    request_uri, '^/(healthz|livez|readyz|version|openid|\.well-known|api|apis|openapi)(/|\?|$)'
  )) IS NOT TRUE
GROUP BY cluster, source_ip
HAVING count(DISTINCT split_part(request_uri, '?', 1)) >= $distinct_paths
