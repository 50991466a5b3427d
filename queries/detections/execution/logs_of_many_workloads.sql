/*
id: K8A-421
title: One identity read the logs of many workloads, or of several of the cluster's own
severity: low
attack: [T1552.001, T1613, T1005]
controls: [MON-2, SEC-1]
window: 10m
slide: 1m
params: {workloads: 15, system_workloads: 4, pods: 40, workloads_of_program: 300}
needs: {level: Metadata, resources: [pods/log], verbs: [get], stages: [ResponseStarted]}
exempt: [control-plane, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} read the logs of {{pods}} pods of {{workloads}} workloads in {{namespaces}} namespaces from {{source_ip}}"
false_positives: >-
  Somebody who follows a fault through many services, with a client that tails all of them; log
  collectors that read through the API server. A few replicas of one workload count as one.
respond: >-
  Ask the person. Logs hold tokens, queries and addresses of customers: see whose they were.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  count(*) AS requests,
  count(DISTINCT namespace) AS namespaces, count(DISTINCT namespace || '/' || name) AS pods,
  count(DISTINCT workload) AS workloads, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM (
  SELECT *,
    -- Replicas of one thing: without what deployments, daemon sets, jobs and stateful sets add.
    namespace || '/' || regexp_replace(name,
      '((-[4-9bcdf]{6,10})?-[2-9bcdfghj-np-tv-xz]{5}|-[0-9]+)$', '') AS workload,
    -- A pod's own token: a collector mostly.
    user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL AS is_program
  FROM events
  WHERE resource = 'pods' AND subresource = 'log' AND api_group IS NULL AND verb = 'get'
    -- When it starts: a log that is followed ends hours later.
    AND stage = 'ResponseStarted' AND response_code < 300
  )
GROUP BY cluster, user_name, impersonated_user, source_ip
HAVING count(DISTINCT workload) FILTER (WHERE is_program IS NOT TRUE) >= $workloads
  OR count(DISTINCT workload) FILTER (WHERE is_program IS NOT TRUE AND namespace = 'kube-system')
    >= $system_workloads
  OR count(DISTINCT namespace || '/' || name) FILTER (WHERE is_program IS NOT TRUE) >= $pods
  OR count(DISTINCT workload) >= $workloads_of_program
