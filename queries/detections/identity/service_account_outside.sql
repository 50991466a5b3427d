/*
id: K8A-121
title: Service account that lives inside was used by a script from outside
severity: medium
attack: [T1078, T1528, T1550.001, T1059.013]
controls: [API-2, API-3]
window: 6h
slide: 30m
dedup: 1d
params: {inside_requests: 3}
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}}, used inside the cluster from {{inside_ip}}, was used with {{user_agent}} from {{source_ip}} ({{outside}} of {{requests}} requests)"
false_positives: >-
  A cluster whose pods reach its API server now by private, now by public addresses; an account that
  a workload shares with a build job outside.
respond: >-
  The token is out. Take the account's rights away or delete its pods and token secrets, then see
  what was asked from the public address, and where it was read: exec, a secret, a log.
*/
-- Both within hours. An account that only jobs outside use has no inside; where pods come through
-- a public address all of it is outside; and a workload that comes by both ways is the same program
-- at both.
SELECT
  cluster, user_name,
  min(source_ip) FILTER (WHERE private_ip(source_ip)) AS inside_ip,
  min(source_ip) FILTER (WHERE NOT private_ip(source_ip)) AS source_ip,
  min(user_agent) FILTER (WHERE NOT private_ip(source_ip)) AS user_agent,
  count(*) FILTER (WHERE NOT private_ip(source_ip)) AS outside, count(*) AS requests
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND stage = 'ResponseComplete'
  AND decision IS NOT NULL
  AND (private_ip(source_ip)
    OR regexp_like(user_agent,
      '^(kubectl|oc|curl|wget|httpie|python|openapi-generator|go-http-client|powershell|mozilla|axios|ruby|perl)',
      'i'))
GROUP BY cluster, user_name
HAVING count(*) FILTER (WHERE private_ip(source_ip)) >= $inside_requests
  AND count(*) FILTER (WHERE NOT private_ip(source_ip)) >= 1
  AND count(DISTINCT split_part(user_agent, '/', 1))
    = count(DISTINCT split_part(user_agent, '/', 1)) FILTER (WHERE private_ip(source_ip))
    + count(DISTINCT split_part(user_agent, '/', 1)) FILTER (WHERE NOT private_ip(source_ip))
