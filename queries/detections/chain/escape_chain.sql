/*
id: K8A-803
title: Pod that can reach its node deployed and entered, and a way out taken
severity: high
attack: [T1611, T1610, T1609]
controls: [MON-3, WL-1, WL-2]
over: findings
window: 1h
slide: 6m
dedup: 1d
key: [user_name, namespace, name]
describe: "{{user_name}} deployed {{namespace}}/{{name}}, which can reach its node, and went into it from {{source_ip}}: {{session}}{{node}}"
false_positives: >-
  An administrator who debugs a node through a privileged pod.
respond: >-
  Delete the pod. Treat its node as taken: its kubelet's credential, the tokens and secrets of every
  pod on it. Replace the node rather than clean it.
*/
-- The pod goes by the technique (escape to host), the session by the technique (administration command)
-- and the name: a workload's pods bear its name. Either must be worth an alarm by itself, or a node's
-- identity is misused after it: deploying an agent and looking into it is daily work.
SELECT
  pod.cluster, pod.user_name, pod.namespace, session.name,
  min(session.source_ip) AS source_ip, min(session.credential_id) AS credential_id,
  min(session.summary) AS session,
  CASE WHEN min(node.summary) IS NULL THEN '' ELSE concat('; then ', min(node.summary)) END AS node
FROM (
  SELECT *, rtrim(coalesce(name, split_part(json_value(row, '$.workload'), '/', 2)), '-') AS workload
  FROM findings WHERE attack LIKE '%"T1611"%' AND json_value(attack, '$[0]') <> 'T1609'
) AS pod
JOIN findings AS session ON session.cluster = pod.cluster AND session.user_name = pod.user_name
  AND session.namespace = pod.namespace
LEFT JOIN (SELECT * FROM findings
  WHERE user_name LIKE 'system:node:%' AND severity <> 'informational') AS node
  ON node.cluster = pod.cluster AND node.last_seen > session.first_seen
WHERE json_value(session.attack, '$[0]') = 'T1609' AND session.last_seen > pod.first_seen
  AND (session.name = pod.workload OR session.name LIKE concat(pod.workload, '-%'))
  AND (pod.severity IN ('medium', 'high', 'critical') OR session.severity IN ('medium', 'high',
  'critical')
    OR node.id IS NOT NULL)
GROUP BY pod.cluster, pod.user_name, pod.namespace, session.name
