/*
name: sources
title: Networks that each identity comes from
describe: >-
  One row per identity and network (/24, or /48 of IPv6) of the address that the API server saw, with
  its provider and country where databases of addresses are supplied.
params: {user: null, ip: null, limit: 10000}
needs: {level: Metadata}
controls: [API-2, MON-2]
*/
SELECT
  cluster, user_name,
  CASE WHEN source_ip LIKE '%:%' THEN regexp_replace(source_ip, '^(([0-9a-fA-F]*:){3}).*$', '\1:/48')
    ELSE regexp_replace(source_ip, '\.[0-9]+$', '.0/24') END AS network,
  coalesce(private_ip(source_ip), false) AS private, count(DISTINCT source_ip) AS addresses,
  max(source_ip) AS address, max(ip_as_org(source_ip)) AS provider,
  max(ip_country(source_ip)) AS country, count(*) AS requests, count(DISTINCT user_agent) AS user_agents,
  count(*) FILTER (WHERE response_code IN (401, 403)) AS refused,
  min(event_time) AS first_time, max(event_time) AS last_time
FROM events
WHERE event_time >= $since AND event_time < $until AND stage <> 'RequestReceived'
  AND source_ip IS NOT NULL
  AND ($user IS NULL OR user_name = $user) AND ($ip IS NULL OR source_ip = $ip)
GROUP BY 1, 2, 3, 4
ORDER BY private, user_name, network
LIMIT $limit
