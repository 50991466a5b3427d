/*
id: K8A-420
title: Service or pod reached through the API server
severity: informational
attack: [T1090, T1046]
controls: [NET-5, NET-1]
key: [user_name, impersonated_user, resource, namespace, name]
needs: {level: Metadata, resources: [services/proxy, pods/proxy], stages: [ResponseStarted]}
exempt: [control-plane, cloud, platform]
describe: "{{user_name}}{{acting_as}} sent {{verb}} {{path}} to {{resource}} {{namespace}}/{{name}} through the API server from {{source_ip}}, answered {{response_code}}"
false_positives: >-
  `kubectl proxy` to a dashboard; desktop clients that read metrics this way. A fact, not an alarm.
respond: >-
  Ask the person. The request comes from the API server, past network policies and the service's own
  entrance: see whether what answers asks for a password.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  resource, verb, response_code,
  left(regexp_replace(request_uri, '^/api/v1/namespaces/[^/]*/[a-z]*/[^/?]*/proxy', ''),
    300) AS path
FROM events
WHERE resource IN ('services', 'pods') AND subresource = 'proxy' AND api_group IS NULL
  -- Whatever the answer was: it is the workload's. A proxied request is told of when it starts and
  -- once more when it ends.
  AND decision = 'allow' AND stage = 'ResponseStarted'
