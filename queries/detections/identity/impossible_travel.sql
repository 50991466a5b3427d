/*
id: K8A-136
title: One credential used in two countries within an hour
severity: medium
attack: [T1078, T1550.001]
controls: [API-3, MON-2]
window: 1h
slide: 6m
dedup: 1d
params: {requests: 2}
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete], address_databases: [country]}
describe: "{{user_name}}'s credential was used in {{country}} from {{source_ip}} and in {{other_country}} from {{other_ip}} within an hour, in {{requests}} requests"
false_positives: >-
  A tunnel that was switched on or off in between; a company whose connections leave in several
  countries; a token that build runners in several regions share: give each its own.
respond: >-
  Ask the owner where they are. If one of the countries is not theirs, revoke the credential: a
  certificate cannot be revoked, so take its user's rights away.
*/
-- What a person or a machine keeps. Pods are another detection's; they do not travel.
SELECT
  cluster, credential_id, user_name,
  -- Each address with the country that it is in.
  split_part(min(concat(ip_country(source_ip), ' ', source_ip)), ' ', 2) AS source_ip,
  split_part(max(concat(ip_country(source_ip), ' ', source_ip)), ' ', 2) AS other_ip,
  min(ip_country(source_ip)) AS country, max(ip_country(source_ip)) AS other_country,
  count(DISTINCT ip_country(source_ip)) AS countries, count(*) AS requests
FROM events
WHERE pod_name IS NULL AND stage = 'ResponseComplete' AND decision = 'allow'
  AND user_name <> 'system:anonymous' AND NOT is_system_user(user_name)
  AND ip_country(source_ip) IS NOT NULL
GROUP BY cluster, credential_id, user_name
HAVING count(DISTINCT ip_country(source_ip)) >= 2 AND count(*) >= $requests
