/*
id: K8A-115
title: Identity used from a network it never came from
severity: low
attack: [T1078]
controls: [API-2, MON-2]
first_seen: {key: [user_name, network], lookback: 30d, learn: 7d}
key: [user_name, network]
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}: the network {{network}} is new for it"
false_positives: >-
  Travel, a new provider, a build runner in another region of its cloud.
respond: >-
  Ask the person where they are. If it was not them, revoke the credential and see what it did from
  there.
*/
-- A network is the first half of an IPv4 address, the first two groups of an IPv6 address:
-- providers and offices keep those, single addresses change daily. The last address is the only one
-- that the client cannot choose.
SELECT
  cluster, user_name, source_ip, user_agent, verb, request_uri, credential_id,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what,
  CASE WHEN source_ip LIKE '%.%'
    THEN concat(split_part(replace(source_ip, '::ffff:', ''), '.', 1), '.',
      split_part(source_ip, '.', 2), '.0.0/16')
    ELSE concat(split_part(source_ip, ':', 1), ':', split_part(source_ip, ':', 2), '::/32')
  END AS network
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
  -- Sources that do not know the address cannot say whether it is new.
  AND source_ip IS NOT NULL
  -- Inside, service accounts go where their pods are put. From outside each network counts.
  AND (user_name LIKE 'system:serviceaccount:%' AND private_ip(source_ip)) IS NOT TRUE
