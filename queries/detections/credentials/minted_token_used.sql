/*
id: K8A-216
title: Service account token minted, then used at the same address
severity: medium
attack: [T1528, T1078.004]
controls: [SA-2, RBAC-5]
window: 1h
slide: 5m
dedup: 24h
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} minted a token of {{account}} and made {{requests}} requests with it from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Somebody who tries out what a service account may do. Behind one proxy many share an address.
respond: >-
  Ask the person. If it was not them, revoke their credential, delete and recreate the service
  account, which ends its tokens, and go through what was done as that account.
*/
-- The token's own id joins the two: told when it is made, and by every request that is made with
-- it. An API server older than 1.30 tells neither.
SELECT
  cluster, source_ip,
  CASE WHEN subresource = 'token'
    THEN annotation(annotations, 'authentication.kubernetes.io/issued-credential-id')
    ELSE credential_id END AS credential,
  min(user_name) FILTER (WHERE subresource = 'token' AND verb = 'create') AS user_name,
  min(user_name) FILTER (WHERE (subresource IS DISTINCT FROM 'token')) AS account,
  min(user_agent) FILTER (WHERE (subresource IS DISTINCT FROM 'token')) AS user_agent,
  count(*) FILTER (WHERE (subresource IS DISTINCT FROM 'token')) AS requests
FROM events
WHERE stage = 'ResponseComplete'
  AND ((resource = 'serviceaccounts' AND subresource = 'token' AND verb = 'create'
      AND response_code BETWEEN 200 AND 299 AND NOT is_system_user(user_name)
      AND annotation(annotations, 'authentication.kubernetes.io/issued-credential-id') IS NOT NULL
      -- Operators in pods mint tokens of those in whose name they apply things.
      AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
        AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
        AND regexp_like(coalesce(user_agent, ''),
          '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
          IS NOT TRUE) IS NOT TRUE)
    -- Used, whatever came of it, by nobody's pod.
    OR ((subresource IS DISTINCT FROM 'token') AND user_name LIKE 'system:serviceaccount:%'
      AND pod_name IS NULL AND credential_id IS NOT NULL))
GROUP BY cluster, source_ip, CASE WHEN subresource = 'token'
    THEN annotation(annotations, 'authentication.kubernetes.io/issued-credential-id')
    ELSE credential_id END
HAVING min(event_time) FILTER (WHERE subresource = 'token' AND verb = 'create')
  < max(event_time) FILTER (WHERE (subresource IS DISTINCT FROM 'token'))
