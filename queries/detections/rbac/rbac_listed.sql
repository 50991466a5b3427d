/*
id: K8A-323
title: Roles and bindings of the whole cluster listed
severity: low
attack: [T1069, T1613]
controls: [RBAC-3, HUNT-1]
window: 10m
slide: 1m
dedup: 6h
params: {kinds: 3}
exempt: [control-plane, cloud, gitops, platform, rbac-writers]
needs: {level: Metadata, resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [list], stages: [ResponseComplete]}
describe: "{{user_name}} asked for all {{first_kind}} to {{last_kind}} of the cluster ({{kinds}} kinds, {{denied}} requests denied) from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Administrators who look for who may do what, with kubectl or a tool made for it, and scanners.
respond: >-
  Ask the person. Whoever looks for the strongest account does this first, so see what the identity
  asked for next.
*/
-- Three of the four kinds in a row answer the question who is strong here; one of them is daily work.
-- Denied ones count: it was asked.
SELECT
  cluster, user_name, source_ip, count(DISTINCT resource) AS kinds,
  min(resource) AS first_kind, max(resource) AS last_kind,
  count(*) FILTER (WHERE response_code = 403) AS denied,
  min(user_agent) AS user_agent, min(credential_id) AS credential_id,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource IN ('roles', 'clusterroles', 'rolebindings', 'clusterrolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb = 'list' AND namespace IS NULL AND stage = 'ResponseComplete'
  -- The caches of operators: a pod's own token, and a request as informers make them.
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND url_param(request_uri, 'resourceVersion') IS NOT NULL) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT resource) >= $kinds
