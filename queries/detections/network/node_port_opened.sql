/*
id: K8A-614
title: Service opens a port of every node
severity: informational
attack: [T1133]
controls: [NET-2]
key: [namespace, name]
dedup: 24h
needs: {level: Request, resources: [services], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions]
describe: "{{user_name}}{{acting_as}} opened a port of every node for service {{namespace}}/{{name}} by {{verb}} from {{source_ip}}"
false_positives: Where a load balancer in front of the nodes needs it.
respond: See whether the nodes can be reached from outside, and what answers there.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'services' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_value(request_object, '$.spec.type') = 'NodePort'
    OR json_exists(request_object, '$[?@.path == "/spec/type" && @.value == "NodePort"]'))
