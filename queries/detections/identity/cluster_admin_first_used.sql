/*
id: K8A-132
title: Person used cluster-admin for the first time
severity: medium
attack: [T1078, T1098.006]
controls: [RBAC-2, API-3]
first_seen: {key: [user_name], lookback: 90d, learn: 7d}
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} was allowed to {{verb}} {{what}} from {{source_ip}} as cluster-admin, for the first time in 90 days"
false_positives: A new administrator, or one who was on leave for long.
respond: >-
  The reason names the binding: see who wrote it and when, and ask both. If it was not meant, delete
  it and undo what was done since.
*/
-- The reason of the decision names role and binding. Where several allow a request it names the
-- first that does.
SELECT
  cluster, user_name, source_ip, user_agent, verb, decision_reason AS authorization_reason,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND decision_reason LIKE '%of ClusterRole "cluster-admin" to %'
  -- In one namespace the role is an administrator's of that namespace.
  AND decision_reason LIKE 'RBAC: allowed by ClusterRoleBinding %'
  AND user_name NOT LIKE 'system:%' AND impersonated_user IS NULL
