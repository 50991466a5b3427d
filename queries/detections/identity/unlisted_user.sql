/*
id: K8A-128
title: User who is not on the list of those allowed
severity: medium
enabled: false
attack: [T1078]
controls: [API-3, MON-2]
key: [user_name]
dedup: 1d
params: {allowed: ''}
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}}, who is not on the list of users, came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}, answered {{response_code}}"
false_positives: >-
  Somebody new whom the list does not name yet; a program with a user's name.
respond: >-
  Ask who gave the account, then put the name on the list or take the account back where it comes
  from (identity provider, certificates, the cloud's map of names).
*/
-- `allowed` is a regular expression of whole names, such as `[a-z.]+@acme[.]example|ci-[a-z]+`. Off
-- without one: nobody is on an empty list. Whoever has a name here has been authenticated, so what
-- was denied tells as much as what was not.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, response_code, credential_id,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE (stage IN ('RequestReceived', 'ResponseStarted')) IS NOT TRUE
  -- Not the cluster's own, its service accounts, and who has no name.
  AND NOT is_system_user(user_name) AND user_name NOT LIKE 'system:serviceaccount:%'
  AND user_name <> 'system:anonymous'
  AND NOT regexp_like(user_name, concat('^(', $allowed, ')$'))
