/*
id: K8A-628
title: One identity gets many errors of an overloaded or failing API server
severity: low
attack: [T1499]
controls: [API-4]
window: 5m
slide: 1m
params: {requests: 200}
needs: {level: Metadata, stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}} got {{requests}} errors ({{throttled}} times too many requests) from {{source_ip}}, asking for {{resources}} kinds with {{user_agent}}"
false_positives: A client that tries on and on while a webhook, an extension server or etcd is down.
respond: >-
  If others suffer too, see what fails. If it is this identity alone, it asks for too much: find its
  program, or revoke the credential.
*/
SELECT
  cluster, user_name, source_ip, count(*) AS requests,
  count(*) FILTER (WHERE response_code = 429) AS throttled,
  count(DISTINCT resource) AS resources, min(user_agent) AS user_agent
FROM events
WHERE stage = 'ResponseComplete' AND (response_code = 429 OR response_code BETWEEN 500 AND 599)
  -- What backends behind a proxy answer is theirs.
  AND (subresource = 'proxy') IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(*) >= $requests
