/*
id: K8A-619
title: Role, taints or status of a node changed by hand, or refused to a node
severity: low
attack: [T1036]
controls: [API-6]
key: [user_name, impersonated_user, name]
needs: {level: Request, least: Metadata, resources: [nodes, nodes/status], verbs: [update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, platform, control-setup]
describe: "{{user_name}}{{acting_as}} {{change}} of node {{name}} by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Opening a control plane of one machine for workloads. Ordinary labels, taints and cordons do not
  count.
respond: >-
  Ask the person. What runs on nodes with the role of the control plane shares them with its keys; a
  forged address in the status leads exec and logs elsewhere. A node that is refused has somebody at
  its credential: see what else it asked for.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, name,
  CASE WHEN response_code = 403 THEN 'was refused a change'
    WHEN subresource = 'status' THEN 'wrote the status'
    WHEN json_exists(request_object, '$.spec.taints') OR
      json_exists(request_object, '$[?search(@.path, "^/spec/taints")]') THEN 'took away the taints'
    ELSE 'changed the role' END AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'nodes' AND api_group IS NULL AND verb IN ('update', 'patch')
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    (response_code BETWEEN 200 AND 299
      -- Controllers work on nodes under accounts of their own, kubelets on their own node.
      AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
        IS NOT TRUE
      AND NOT user_name LIKE 'system:node:%'
      AND ((subresource = 'status')
        OR (subresource IS NULL AND verb = 'patch' AND (
          -- Labels that attract what belongs on the control plane or on guarded nodes.
          json_exists(request_object, '$.metadata.labels["node-role.kubernetes.io/control-plane",
            "node-role.kubernetes.io/master"]')
          OR json_exists(request_object, '$[?
            search(@.path, "^/metadata/labels/node-role.kubernetes.io~1(control-plane|master)")
            || search(@.path, "^/metadata/labels/node-restriction.kubernetes.io~1")]')
          -- All taints away; of a shorter list nobody can say what it lacks.
          OR json_query(request_object, '$.spec.taints') IN ('[null]', '[[]]')
          OR json_exists(request_object, '$[?@.path == "/spec/taints" && @.op == "remove"]')))))
    -- A node may change little of itself, and nothing of others: its kubelet knows that.
    OR (response_code = 403 AND user_name LIKE 'system:node:%'))
