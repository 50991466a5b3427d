/*
id: K8A-416
title: Debug container added to a running pod
severity: low
attack: [T1609, T1610]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Request, resources: [pods/ephemeralcontainers], verbs: [patch, update], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} added a debug container ({{containers}}) to pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  `kubectl debug` by the pod's owners, the way to look into images without a shell.
respond: >-
  Ask the person. The container shares the pod's network, and with a target also the processes and
  through /proc the files of a container; it stays until the pod is deleted.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  left(translate(coalesce(
    nullif(json_query(request_object, '$.spec.ephemeralContainers[*]["name", "image"]'), '[]'),
    json_query(request_object, '$[*].value..image')), ',[]"', ' '), 500) AS containers
FROM events
WHERE resource = 'pods' AND subresource = 'ephemeralcontainers' AND api_group IS NULL
  AND verb IN ('patch', 'update')
  -- Done, not just allowed: Pod Security may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299 AND stage = 'ResponseComplete'
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
