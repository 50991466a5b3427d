/*
id: K8A-202
title: One identity was denied several secrets
severity: medium
attack: [T1552.007]
controls: [SEC-1, API-4]
window: 10m
slide: 1m
params: {distinct_secrets: 5}
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch], stages: [ResponseComplete]}
describe: "{{user_name}} was denied {{secrets}} different secrets or lists of secrets in {{namespaces}} namespaces, from {{source_ip}} ({{user_agent}})"
false_positives: >-
  A new operator or deployment whose role is not written yet and that names many secrets; one
  that repeats itself does not count.
respond: >-
  Ask the owner of the identity. If it was not them, revoke the credential, and look for secrets
  that the same identity and address were allowed to read before or after.
*/
-- Different secrets, not tries: who lacks a permission asks for the same again and again, who
-- guesses does not. A list counts as one, by its namespace.
SELECT
  cluster, user_name, source_ip,
  count(DISTINCT concat(coalesce(namespace, '*'), '/', coalesce(name, '*'))) AS secrets,
  count(DISTINCT namespace) AS namespaces, count(*) AS requests, min(user_agent) AS user_agent
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND verb IN ('get', 'list', 'watch')
  AND response_code = 403 AND stage = 'ResponseComplete' AND (decision IS DISTINCT FROM 'allow')
  -- Nodes and anonymous requests are matters of their own.
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT concat(coalesce(namespace, '*'), '/', coalesce(name, '*')))
  >= $distinct_secrets
