/*
id: K8A-123
title: Acted as an administrator or as a part of the cluster
severity: high
attack: [T1078, T1550.001]
controls: [RBAC-5]
key: [user_name, as_user]
dedup: 1d
exempt: [gitops, cloud, identity-impersonators]
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} acted as {{as_user}} {{as_groups}} to {{verb}} {{what}} from {{source_ip}}"
false_positives: >-
  Administrators who raise their rights for one command (`kubectl --as-group=system:masters`), and
  gateways that act as those who log in through them; exempt gateways by account and address.
respond: >-
  Ask the person. If it was not them, revoke the credential, and take the verb impersonate from the
  role that allowed it; look at everything that was done under the other name.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, request_uri, impersonated_groups,
  coalesce(impersonated_user, '') AS as_user,
  CASE WHEN has_group(impersonated_groups, 'system:masters') THEN '(system:masters)'
    ELSE '' END AS as_groups,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what,
  decision, response_code
FROM events
-- The name is there only once impersonation was allowed, whatever came of the request.
WHERE impersonated_user IS NOT NULL
  AND (has_group(impersonated_groups, 'system:masters')
    OR has_group(impersonated_groups, 'system:nodes')
    OR has_group(impersonated_groups, 'system:serviceaccounts:kube-system')
    OR is_system_user(impersonated_user))
  -- Who is of system:masters already gains nothing, and looks at what others may do.
  AND has_group(user_groups, 'system:masters') IS NOT TRUE
  -- `kubectl auth can-i --as`: a question, which changes and shows nothing.
  AND (resource IN ('selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews'))
    IS NOT TRUE
  -- kubectl asks for the kinds that there are before it does anything.
  AND (resource IS NULL AND verb = 'get'
    AND regexp_like(request_uri, '^/(api|apis|openapi|version)(/|\?|$)')) IS NOT TRUE
  -- One stage of each request: these kinds are told when they start.
  AND (stage = CASE
    WHEN verb = 'watch' OR subresource IN ('exec', 'attach', 'portforward', 'proxy', 'log')
    THEN 'ResponseComplete' ELSE 'ResponseStarted' END) IS NOT TRUE
