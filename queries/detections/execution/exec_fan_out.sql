/*
id: K8A-407
title: One identity ran commands in many workloads
severity: medium
attack: [T1609, T1021]
controls: [WL-9, MON-2]
window: 10m
slide: 1m
params: {workloads: 6, pods: 10, workloads_of_program: 40}
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} ran {{sessions}} commands in {{pods}} pods of {{workloads}} workloads and {{namespaces}} namespaces from {{source_ip}}"
false_positives: >-
  Collecting diagnostics of a whole cluster; an operator that works by exec and looks after dozens
  of instances. A few replicas of one workload count as one.
respond: >-
  Ask the person. If it was not them, revoke the credential and treat the service accounts and
  secrets of all these pods as known to the attacker; the commands say what they were after.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  count(*) AS sessions,
  count(DISTINCT command) AS commands, count(DISTINCT namespace) AS namespaces,
  count(DISTINCT namespace || '/' || name) AS pods, count(DISTINCT workload) AS workloads,
  max(decision_reason) AS decision_reason
FROM (
  SELECT *, exec_command(request_uri) AS command,
    -- Replicas of one thing: without what deployments, daemon sets, jobs and stateful sets add.
    namespace || '/' || regexp_replace(name,
      '((-[4-9bcdf]{6,10})?-[2-9bcdfghj-np-tv-xz]{5}|-[0-9]+)$', '') AS workload,
    -- A pod's own token without a terminal is a program.
    user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
      AND url_param(request_uri, 'tty') IS NULL AS is_program
  FROM events
  WHERE resource = 'pods' AND subresource = 'exec' AND api_group IS NULL
    -- When it starts: the completion tells of the same session again.
    AND stage = 'ResponseStarted' AND response_code < 300
  )
GROUP BY cluster, user_name, impersonated_user, source_ip
-- Programs look after many.
HAVING count(DISTINCT workload) FILTER (WHERE is_program IS NOT TRUE) >= $workloads
  OR count(DISTINCT namespace || '/' || name) FILTER (WHERE is_program IS NOT TRUE) >= $pods
  OR count(DISTINCT workload) >= $workloads_of_program
