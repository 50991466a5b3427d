/*
id: K8A-205
title: One identity reads many secrets
severity: high
attack: [T1552.007]
controls: [SEC-1]
window: 10m
params: {distinct_secrets: 15}
needs: {level: Metadata, resources: [secrets], verbs: [get], stages: [ResponseComplete]}
describe: "{{user_name}} read {{secrets}} secrets in {{namespaces}} namespaces from {{source_ip}}"
false_positives: Operators that reconcile secrets; exempt them by user and user agent together.
respond: Check whose credential it is, revoke it, rotate the secrets listed.
*/
-- Read means read: secrets that were denied or not there do not count. Only a request's completion
-- has a code, so each counts once.
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace || '/' || name) AS secrets,
  count(DISTINCT namespace) AS namespaces, count(*) AS requests, min(user_agent) AS user_agent
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND verb = 'get'
  AND response_code BETWEEN 200 AND 299 AND NOT is_system_user(user_name)
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT namespace || '/' || name) >= $distinct_secrets
