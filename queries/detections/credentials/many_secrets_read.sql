/*
id: K8A-205
title: One identity reads many secrets
severity: high
attack: [T1552.007]
controls: [SEC-1]
window: 10m
params: {distinct_secrets: 15}
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [get, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} read {{secrets}} secrets in {{namespaces}} namespaces from {{source_ip}}"
false_positives: >-
  Deployments from outside the cluster that compare many secrets with what they should be (kubectl
  apply, Terraform); exempt them by user and address together.
respond: Check whose credential it is, revoke it, rotate the secrets that it read.
*/
-- Read means read, by whatever gives it: a dry run of a change answers with the whole secret, to
-- those who may change it and not read it. Secrets that were denied or not there do not count. Only
-- a request's completion has a code, so each counts once.
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace || '/' || name) AS secrets,
  count(DISTINCT namespace) AS namespaces, count(*) AS requests, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND (verb = 'get'
    OR (verb IN ('update', 'patch') AND url_param(request_uri, 'dryRun') = 'All'))
  AND response_code BETWEEN 200 AND 299 AND NOT is_system_user(user_name)
  -- Helm keeps its releases in secrets, and reads and writes them with every use.
  AND (name LIKE 'sh.helm.release.v1.%' IS NOT TRUE)
  -- Programs in pods read secrets all day. They have the token of their pod; a source that does
  -- not tell the pod (it tells no groups either) leaves the address to go by. A tool of the hand
  -- there is no such program.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT namespace || '/' || name) >= $distinct_secrets
