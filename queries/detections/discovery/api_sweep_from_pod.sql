/*
id: K8A-707
title: Service account walked through the API by hand
severity: low
attack: [T1613]
controls: [HUNT-1]
window: 5m
slide: 30s
dedup: 1d
params: {paths: 6}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, verbs: [get], stages: [ResponseComplete]}
describe: "{{user_name}} asked for {{paths}} parts of the API from {{source_ip}} with {{user_agent}}"
false_positives: >-
  A workload in a language whose client library reads all of the API when it starts.
respond: >-
  Look into the pod: who entered it, and what runs there beside its own program.
*/
-- Clients made with Kubernetes' own library read the API when they start, all in one request if
-- they are new, and say `kubernetes/` in their name. A tool that walks from path to path says
-- something else; one that says the same is told by what it lists.
SELECT
  cluster, user_name, source_ip, min(user_agent) AS user_agent, count(*) AS requests,
  count(DISTINCT split_part(request_uri, '?', 1)) AS paths
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND resource IS NULL AND verb = 'get'
  AND stage = 'ResponseComplete'
  AND regexp_like(request_uri, '^/(api|apis|openapi|swagger|version)(/|\?|\.|$)')
  AND NOT user_agent LIKE '% kubernetes/%'
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT split_part(request_uri, '?', 1)) >= $paths
