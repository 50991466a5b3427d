/*
id: K8A-423
title: Debug pod with the file system of a node created
severity: medium
attack: [T1611, T1610]
controls: [WL-2, API-6]
key: [user_name, impersonated_user, node]
needs: {level: Request, resources: [pods], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} opened node {{node}} with debug pod {{namespace}}/{{pod}} ({{images}}) from {{source_ip}}"
false_positives: >-
  `kubectl debug node/...` or `oc debug node/...` by an administrator who has to be on the node.
respond: >-
  Ask the person. If it was not them, the node's credentials and those of every pod on it are known;
  delete the pod, drain and replace the node. The pod stays when the session ends: delete it anyway.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace,
  coalesce(name, json_value(request_object, '$.metadata.generateName')) AS pod,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  coalesce(json_value(request_object, '$.spec.nodeName'), '(any)') AS node,
  translate(json_query(request_object, '$.spec.containers[*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource = 'pods' AND subresource IS NULL AND api_group IS NULL AND verb = 'create'
  -- Done, not just allowed: Pod Security may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299 AND stage = 'ResponseComplete'
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Made for a node by kubectl or oc, which name it so; the same thing by another name is a matter
  -- of what pods may mount.
  AND (coalesce(name, json_value(request_object, '$.metadata.generateName')) LIKE 'node-debugger-%'
    OR json_exists(request_object, '$.metadata.annotations["debug.openshift.io/source-resource"]'))
  -- The root of the node; profiles that do not mount it see processes or the network only.
  AND json_exists(request_object, '$.spec.volumes[?match(@.hostPath.path, "/+(\\.?/*)*")]')
