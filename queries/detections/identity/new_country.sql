/*
id: K8A-135
title: Identity used from a country it never came from
severity: low
attack: [T1078]
controls: [API-2, MON-2]
first_seen: {key: [user_name, country], lookback: 30d, learn: 7d}
key: [user_name, country]
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete], address_databases: [country]}
describe: "{{user_name}} came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}: {{country}} is a new country for it"
false_positives: >-
  Travel; a tunnel with another exit; an address that the database puts into a wrong country.
respond: >-
  Ask the person where they are. If it was not them, revoke the credential and see what it did from
  there.
*/
SELECT
  cluster, user_name, source_ip, user_agent, verb, request_uri, credential_id,
  ip_country(source_ip) AS country, ip_as_org(source_ip) AS provider,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
  AND ip_country(source_ip) IS NOT NULL
