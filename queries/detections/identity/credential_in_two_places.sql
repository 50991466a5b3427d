/*
id: K8A-119
title: One credential used from two networks at once
severity: low
attack: [T1078, T1550]
controls: [API-3, MON-2]
window: 30m
slide: 3m
dedup: 1d
params: {minutes: 3}
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "one credential of {{user_name}} was used from {{source_ip}} and {{other_ip}} in the same minutes, in {{requests}} requests"
false_positives: >-
  A certificate or token that several people or build runners share: give each its own. One change
  of network (an office, a tunnel) does not count.
respond: >-
  Ask the owner which address is theirs. If one is not, revoke the credential: a certificate cannot
  be revoked, so take its user's rights away.
*/
-- Certificates, and tokens that belong to no pod: what a person or a machine keeps. At once means
-- several minutes in which both networks came: who changes networks does so once. A network is the
-- first half of an IPv4 address, the first two groups of an IPv6 address.
SELECT
  cluster, credential_id, user_name, min(source_ip) AS source_ip, max(source_ip) AS other_ip,
  count(DISTINCT source_ip) AS addresses, count(DISTINCT user_agent) AS user_agents,
  count(*) AS requests
FROM events
WHERE credential_id IS NOT NULL AND pod_name IS NULL AND stage = 'ResponseComplete'
  AND (cidr_match(source_ip, '127.0.0.0/8') OR source_ip = '::1') IS NOT TRUE
GROUP BY cluster, credential_id, user_name
HAVING count(DISTINCT concat(date_trunc('minute', event_time), ' ',
      CASE WHEN source_ip LIKE '%.%'
        THEN concat(split_part(replace(source_ip, '::ffff:', ''), '.', 1), '.',
          split_part(source_ip, '.', 2))
        ELSE concat(split_part(source_ip, ':', 1), ':', split_part(source_ip, ':', 2)) END))
    >= count(DISTINCT date_trunc('minute', event_time)) + $minutes
