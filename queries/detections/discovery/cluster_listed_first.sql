/*
id: K8A-706
title: Identity listed the whole cluster for the first time
severity: low
attack: [T1613]
controls: [MON-2, RBAC-6]
first_seen: {key: [user_name], lookback: 30d, learn: 7d}
dedup: 1d
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, resources: [pods, nodes, serviceaccounts, deployments, services, configmaps, secrets], verbs: [list], stages: [ResponseComplete]}
describe: "{{user_name}} listed the {{resource}} of the whole cluster from {{source_ip}} ({{user_agent}}), for the first time in 30 days"
false_positives: Somebody new; a person who wondered where something runs; an operator at its start.
respond: See what else the identity looked at, and whether it works in more than its own namespace.
*/
SELECT cluster, user_name, source_ip, user_agent, resource, pod_name, credential_id
FROM events
WHERE resource IN ('pods', 'nodes', 'serviceaccounts', 'deployments', 'services', 'configmaps',
    'secrets')
  AND verb = 'list' AND namespace IS NULL AND subresource IS NULL AND stage = 'ResponseComplete'
  AND response_code BETWEEN 200 AND 299
  AND NOT is_system_user(user_name)
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND url_param(request_uri, 'resourceVersion') IS NOT NULL) IS NOT TRUE
