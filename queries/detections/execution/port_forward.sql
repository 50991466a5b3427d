/*
id: K8A-403
title: Port of a pod forwarded to a client
severity: informational
attack: [T1090, T1572]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/portforward], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} opened a tunnel to pod {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Developers who reach a database or a dashboard from their machine. A fact, not an alarm.
respond: >-
  Ask the person. A tunnel passes network policies and whatever protects the service in front: see
  what listens in the pod, and whether it asks for a password.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container
FROM events
-- create (SPDY) or get (WebSocket): the subresource tells.
WHERE resource = 'pods' AND subresource = 'portforward' AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
