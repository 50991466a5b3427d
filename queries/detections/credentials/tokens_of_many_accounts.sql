/*
id: K8A-214
title: Tokens of many service accounts minted
severity: high
attack: [T1528]
controls: [SA-2, RBAC-4]
window: 10m
slide: 1m
params: {distinct_accounts: 5}
exempt: [control-plane, cloud, gitops, platform, credentials-issuers]
needs: {level: Metadata, resources: [serviceaccounts/token], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} minted tokens of {{accounts}} service accounts in {{namespaces}} namespaces from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator's script, a pipeline that prepares many accounts; exempt it by user and address
  together.
respond: >-
  Revoke the credential that minted them, then delete and recreate the service accounts named in the
  events, which ends their tokens; see what was done with them.
*/
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace || '/' || name) AS accounts,
  count(DISTINCT namespace) AS namespaces, count(*) AS requests, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'serviceaccounts' AND subresource = 'token' AND api_group IS NULL
  AND verb = 'create' AND response_code BETWEEN 200 AND 299
  -- A dry run counts: the API server signs and hands out the token all the same.
  -- Kubelets ask for the tokens of their pods, the controller manager for its controllers'.
  AND NOT is_system_user(user_name)
  -- Operators in pods hand out tokens to what they manage.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT namespace || '/' || name) >= $distinct_accounts
