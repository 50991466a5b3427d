/*
id: K8A-124
title: Somebody acted as another for the first time
severity: low
attack: [T1078]
controls: [RBAC-5, MON-2]
first_seen: {key: [user_name, impersonated_user], lookback: 30d, learn: 7d}
key: [user_name]
dedup: 1d
exempt: [gitops, cloud, identity-impersonators]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} acted as {{impersonated_user}} to {{verb}} {{what}} from {{source_ip}} ({{user_agent}}), for the first time in 30 days"
false_positives: >-
  Administrators who try out what others may do (`kubectl auth can-i --as`), gateways whose users
  are new.
respond: >-
  Ask the person why. What was done this way is under the other's name in no other log.
*/
SELECT
  cluster, user_name, impersonated_user, impersonated_groups, source_ip, user_agent, verb,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
-- The name is there only once impersonation was allowed.
WHERE impersonated_user IS NOT NULL AND (stage = 'ResponseStarted') IS NOT TRUE
  AND (impersonated_user IS DISTINCT FROM user_name)
  AND NOT is_system_user(user_name)
