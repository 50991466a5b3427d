/*
id: K8A-208
title: Person lists secrets from a provider they never did it from
severity: medium
attack: [T1552.007, T1078]
controls: [SEC-1, API-2]
first_seen: {key: [user_name, asn], lookback: 30d, learn: 7d}
key: [user_name, asn]
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, resources: [secrets], verbs: [list, watch], stages: [ResponseStarted, ResponseComplete], address_databases: [asn]}
describe: "{{user_name}} listed the secrets of {{place}} from {{source_ip}} ({{user_agent}}), which is of {{provider}}: it never listed secrets from there"
false_positives: >-
  A new provider at home, a journey, a build runner that has moved. A person who lists secrets for
  the first time comes from a new provider, too.
respond: >-
  Ask the person whether it was them. If not, revoke the credential, and change the secrets that it
  has seen.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, namespace, request_uri,
  credential_id, ip_asn(source_ip) AS asn, coalesce(namespace, 'the whole cluster') AS place,
  coalesce(ip_as_org(source_ip), concat('AS', CAST(ip_asn(source_ip) AS varchar))) AS provider
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('list', 'watch') AND response_code BETWEEN 200 AND 299
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  AND NOT is_system_user(user_name) AND user_name NOT LIKE 'system:serviceaccount:%'
  AND user_name <> 'system:anonymous'
  AND ip_asn(source_ip) IS NOT NULL
