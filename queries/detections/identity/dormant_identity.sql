/*
id: K8A-127
title: Person not seen for 30 days came back
severity: low
attack: [T1078]
controls: [MON-2, API-3]
first_seen: {key: [user_name], lookback: 30d, learn: 30d}
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}}, not seen for 30 days, came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}"
false_positives: Somebody new, or back from leave; an administrator's account kept for emergencies.
respond: Ask the person. Take rights away from those who left, and from accounts nobody needs.
*/
SELECT
  cluster, user_name, source_ip, user_agent, verb, credential_id,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND user_name NOT LIKE 'system:%'
