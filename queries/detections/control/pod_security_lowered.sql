/*
id: K8A-605
title: Pod security of a namespace lowered
severity: medium
attack: [T1685, T1610]
controls: [WL-5]
key: [user_name, impersonated_user, name]
needs: {level: Request, resources: [namespaces], verbs: [update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform, control-agents]
describe: "{{user_name}}{{acting_as}} {{change}} by {{verb}} of namespace {{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An agent that needs the host (storage, network, monitoring) is installed in a namespace of its
  own; those commonly known are exempt by the namespace's name.
respond: >-
  Put the label back. Look at the pods that were created in the namespace since: privileged ones,
  with paths or namespaces of the host, are a way to the node.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, name,
  CASE WHEN json_value(request_object, '$.metadata.labels["pod-security.kubernetes.io/enforce"]')
      = 'privileged' OR json_exists(request_object, '$[?@.value == "privileged"]')
    THEN 'allowed privileged pods' ELSE 'took away the limits for pods' END AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'namespaces' AND api_group IS NULL AND verb IN ('update', 'patch')
  AND subresource IS NULL
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
  AND (
    json_value(request_object, '$.metadata.labels["pod-security.kubernetes.io/enforce"]')
      = 'privileged'
    -- In a merge patch null takes a label away, or all of them.
    OR (json_exists(request_object, '$.metadata.labels["pod-security.kubernetes.io/enforce"]')
      AND json_value(request_object, '$.metadata.labels["pod-security.kubernetes.io/enforce"]')
        IS NULL)
    OR json_query(request_object, '$.metadata.labels') = '[null]'
    OR json_exists(request_object, '$[?
      @.path == "/metadata/labels/pod-security.kubernetes.io~1enforce"
      && (@.op == "remove" || @.value == "privileged")]')
    OR json_exists(request_object, '$[?@.path == "/metadata/labels" && (@.op == "remove"
      || !@.value["pod-security.kubernetes.io/enforce"]
      || @.value["pod-security.kubernetes.io/enforce"] == "privileged")]'))
  -- A controller that writes whole namespaces says at each write what the label was before.
  AND (verb = 'update' AND user_name LIKE 'system:serviceaccount:%') IS NOT TRUE
