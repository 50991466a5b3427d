/*
id: K8A-225
title: Secrets of many namespaces rewritten at once
severity: medium
attack: [T1486, T1565.001]
controls: [SEC-2]
window: 10m
slide: 1m
params: {distinct_secrets: 30, distinct_namespaces: 3}
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} rewrote {{secrets}} secrets in {{namespaces}} namespaces from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who rewrites all secrets after the encryption at rest was changed (`kubectl get
  secrets -A -o json | kubectl replace -f -`), which should be announced; deployments of many
  namespaces at once.
respond: >-
  Ask the person, and look at the API server's encryption configuration: whoever changes it holds
  the key of all secrets. If it was not them, stop them and restore from the last backup of etcd.
*/
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace || '/' || name) AS secrets,
  count(DISTINCT namespace) AS namespaces, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('update', 'patch') AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  -- Helm keeps its releases in secrets, and reads and writes them with every use.
  AND (name LIKE 'sh.helm.release.v1.%' IS NOT TRUE)
  -- Operators in pods rewrite what they made.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT namespace || '/' || name) >= $distinct_secrets
  AND count(DISTINCT namespace) >= $distinct_namespaces
