/*
id: K8A-701
title: Service account asked what it may do
severity: low
attack: [T1613, T1069]
controls: [HUNT-1, MON-2]
first_seen: {key: [user_name, resource], lookback: 30d, learn: 7d}
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, resources: [selfsubjectaccessreviews, selfsubjectrulesreviews, selfsubjectreviews], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} asked what it may do ({{resource}}) from {{source_ip}} ({{user_agent}}), for the first time in 30 days"
false_positives: >-
  Operators that ask for all their rights at once, when they are new. Dashboards that people log in
  to with a service account's token.
respond: >-
  See what program asked, and what the same account did next. In a pod that never did this somebody
  may be looking around.
*/
SELECT
  cluster, user_name, source_ip, user_agent, resource, pod_name, credential_id
FROM events
WHERE resource IN ('selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews')
  AND verb = 'create' AND stage = 'ResponseComplete'
  AND user_name LIKE 'system:serviceaccount:%'
  -- For a single right operators ask as well, before they look after a kind: of those questions only
  -- the ones of tools count.
  AND (resource = 'selfsubjectaccessreviews' AND NOT regexp_like(user_agent,
    '^(kubectl|oc|k9s|curl|wget|httpie|python|go-http-client|mozilla)', 'i')) IS NOT TRUE
  -- Another's question, asked in the account's name, is impersonation.
  AND impersonated_user IS NULL
