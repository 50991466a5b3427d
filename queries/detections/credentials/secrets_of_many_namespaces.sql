/*
id: K8A-206
title: One identity reads the secrets of many namespaces
severity: medium
attack: [T1552.007]
controls: [SEC-1, RBAC-6]
window: 10m
slide: 1m
params: {distinct_namespaces: 8}
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch, update, patch, deletecollection], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} read secrets in {{namespaces}} namespaces by {{requests}} requests from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Administrators' scripts that go from namespace to namespace, consoles that show the secrets of
  each namespace that is opened, deployments from outside the cluster.
respond: >-
  Ask the person. If it was not them, revoke the credential and rotate the secrets of the namespaces
  it read, which the events name.
*/
-- Who is not allowed to list the secrets of the cluster at once, or takes care not to, lists those
-- of each namespace, or reads one here and one there.
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace) AS namespaces, count(*) AS requests,
  count(DISTINCT namespace || '/' || name) AS named_secrets, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('get', 'list', 'watch', 'update', 'patch', 'deletecollection')
  AND namespace IS NOT NULL AND response_code BETWEEN 200 AND 299
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  -- What reads: a dry run of a change gives the whole secret back, of deleting a collection all.
  AND (verb IN ('get', 'list', 'watch') OR url_param(request_uri, 'dryRun') = 'All')
  AND NOT is_system_user(user_name)
  -- Helm asks for its own releases, of which there are many in a day.
  AND regexp_like(coalesce(url_param(request_uri, 'labelSelector'), ''), '(^|,)owner=helm(,|$)')
    IS NOT TRUE
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
HAVING count(DISTINCT namespace) >= $distinct_namespaces
