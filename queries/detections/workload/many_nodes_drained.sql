/*
id: K8A-529
title: One identity empties many nodes
severity: medium
attack: [T1489, T1499]
window: 10m
params: {nodes: 5, evicted: 200}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [nodes, pods/eviction], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} closed {{nodes}} nodes to new pods and evicted {{evicted}} pods within 10 minutes from {{source_ip}}"
false_positives: >-
  An upgrade of all nodes, in haste. Autoscalers with an account of their own do not count.
respond: >-
  Ask the person; open the nodes again (kubectl uncordon) if it was not meant. Pods that are
  driven to few nodes may be driven to one that somebody holds.
*/
SELECT
  cluster, user_name, source_ip,
  count(DISTINCT name) FILTER (WHERE resource = 'nodes') AS nodes,
  count(DISTINCT concat_ws('/', namespace, name)) FILTER (WHERE resource = 'pods') AS evicted,
  max(decision_reason) AS decision_reason
FROM events
WHERE response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND ((resource = 'pods' AND subresource = 'eviction' AND verb = 'create')
    OR (resource = 'nodes' AND subresource IS NULL AND verb IN ('update', 'patch')
      AND (json_value(request_object, '$.spec.unschedulable') = 'true'
        OR json_exists(request_object,
          '$[?search(@.path, "/unschedulable$") && @.value == true]'))))
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT name) FILTER (WHERE resource = 'nodes') >= $nodes
  OR count(DISTINCT concat_ws('/', namespace, name)) FILTER (WHERE resource = 'pods') >= $evicted
