/*
id: K8A-119
title: One credential used from two places at once
severity: low
attack: [T1078, T1550.001]
controls: [API-3, MON-2]
window: 30m
slide: 3m
dedup: 1d
params: {minutes: 3}
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}}'s credential was used from {{source_ip}} and {{other_ip}} at once, by {{program}} and {{other_program}}, in {{requests}} requests"
false_positives: >-
  A certificate or token that several people or build runners share: give each its own. One change
  of network (an office, a tunnel) does not count. A script that somebody runs on another machine
  than kubectl.
respond: >-
  Ask the owner which address is theirs. If one is not, revoke the credential: a certificate cannot
  be revoked, so take its user's rights away.
*/
-- What a person or a machine keeps: certificates, tokens that belong to no pod, logins. Pods are
-- another detection's. A login or a token without an id of its own counts as its user.
SELECT
  cluster, credential_id, user_name, min(source_ip) AS source_ip, max(source_ip) AS other_ip,
  min(split_part(user_agent, '/', 1)) AS program, max(split_part(user_agent, '/', 1))
    AS other_program,
  count(DISTINCT source_ip) AS addresses, count(*) AS requests
FROM events
WHERE pod_name IS NULL AND stage = 'ResponseComplete' AND decision IS NOT NULL
  AND user_name <> 'system:anonymous'
GROUP BY cluster, credential_id, user_name
HAVING
  -- Several minutes in which two networks came with a credential that only one can hold: who changes
  -- networks does so once. A network is the first half of an IPv4 address, the first two groups of
  -- an IPv6 address. On the control plane the same comes by the loopback address, too.
  credential_id IS NOT NULL AND count(DISTINCT concat(date_trunc('minute', event_time), ' ',
      CASE WHEN source_ip LIKE '%.%'
        THEN concat(split_part(replace(source_ip, '::ffff:', ''), '.', 1), '.',
          split_part(source_ip, '.', 2))
        ELSE concat(split_part(source_ip, ':', 1), ':', split_part(source_ip, ':', 2)) END))
        FILTER (WHERE NOT cidr_match(source_ip, '127.0.0.0/8') AND source_ip <> '::1')
    >= count(DISTINCT date_trunc('minute', event_time))
        FILTER (WHERE NOT cidr_match(source_ip, '127.0.0.0/8') AND source_ip <> '::1') + $minutes
  -- Or a script at an address where the owner's own programs are not, and no program at two
  -- addresses: a copy in other hands.
  OR count(DISTINCT source_ip) FILTER (WHERE NOT regexp_like(user_agent,
      '^(curl|wget|httpie|python|go-http-client|powershell|mozilla|axios|ruby|perl)', 'i'))
      BETWEEN 1 AND count(DISTINCT source_ip) - 1
    AND count(DISTINCT concat(source_ip, ' ', split_part(user_agent, '/', 1)))
      = count(DISTINCT split_part(user_agent, '/', 1))
