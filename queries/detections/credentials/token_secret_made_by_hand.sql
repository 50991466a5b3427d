/*
id: K8A-215
title: Secret with a lasting service account token made by hand
severity: medium
attack: [T1098, T1528]
controls: [SA-2]
window: 10m
slide: 1m
dedup: 24h
exempt: [cloud, gitops, platform, credentials-issuers]
needs: {level: Metadata, resources: [secrets], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} made secret {{namespace}}/{{name}}, into which the cluster wrote a token that never expires, from {{source_ip}}"
false_positives: >-
  An account prepared for a pipeline, a dashboard or another cluster's controller (`argocd cluster
  add`), old charts.
respond: >-
  Ask the person. If it was not them, delete the secret, which ends the token, and see what its
  service account did since.
*/
-- What a secret holds is not recorded, but what the cluster does next: the controller of tokens
-- writes one into a secret of that type at once. Its name is the cluster's, not a client's.
SELECT
  cluster, namespace, name,
  min(user_name) FILTER (WHERE verb = 'create') AS user_name,
  min(source_ip) FILTER (WHERE verb = 'create') AS source_ip,
  min(user_agent) FILTER (WHERE verb = 'create') AS user_agent,
  min(credential_id) FILTER (WHERE verb = 'create') AS credential_id
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND response_code BETWEEN 200 AND 299
  AND ((verb = 'create' AND NOT is_system_user(user_name)
      AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
      AND (user_name LIKE 'system:serviceaccount:kube-system:%'
        AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE
      -- What operators in pods make is their work.
      AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
        AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
        AND regexp_like(coalesce(user_agent, ''),
          '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
          IS NOT TRUE) IS NOT TRUE)
    OR (verb IN ('update', 'patch') AND user_name IN ('system:kube-controller-manager',
        'system:serviceaccount:kube-system:tokens-controller')
      AND user_agent LIKE '%/tokens-controller'))
GROUP BY cluster, namespace, name
HAVING min(event_time) FILTER (WHERE verb = 'create')
  < max(event_time) FILTER (WHERE verb IN ('update', 'patch'))
