/*
id: K8A-703
title: One identity listed many kinds across the cluster
severity: low
attack: [T1613, T1069]
controls: [HUNT-1]
window: 5m
slide: 30s
dedup: 1d
params: {kinds: 8, telling_kinds: 2}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, verbs: [list], stages: [ResponseComplete]}
describe: "{{user_name}} listed {{kinds}} kinds in all namespaces from {{source_ip}} ({{user_agent}}), {{telling_kinds}} of them telling of rights and secrets"
false_positives: >-
  Backups, reports and graphical clients of administrators. The caches of operators in their pods do
  not count.
respond: >-
  Ask the person, or the owner of the account. If it was not them, take it that the attacker knows
  all of the cluster.
*/
-- Everything at once is what tools for backup and for attack do; day to day people list what they
-- work on. Kinds that tell of rights and secrets make the difference to `kubectl get all -A`.
SELECT
  cluster, user_name, source_ip, min(user_agent) AS user_agent, count(*) AS requests,
  count(DISTINCT concat_ws('/', resource, api_group)) AS kinds,
  count(DISTINCT resource) FILTER (WHERE resource IN ('secrets', 'roles', 'rolebindings',
    'clusterroles', 'clusterrolebindings', 'serviceaccounts', 'nodes')) AS telling_kinds,
  max(decision_reason) AS decision_reason
FROM events
WHERE verb = 'list' AND namespace IS NULL AND subresource IS NULL AND stage = 'ResponseComplete'
  AND response_code BETWEEN 200 AND 299
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND url_param(request_uri, 'resourceVersion') IS NOT NULL) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT concat_ws('/', resource, api_group)) >= $kinds
  AND count(DISTINCT resource) FILTER (WHERE resource IN ('secrets', 'roles', 'rolebindings',
    'clusterroles', 'clusterrolebindings', 'serviceaccounts', 'nodes')) >= $telling_kinds
