/*
id: K8A-402
title: Attached to a running container
severity: informational
attack: [T1609]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/attach], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} attached to pod {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  `kubectl run -it`, `kubectl debug`, people who watch what a program prints. A fact, not an alarm.
respond: >-
  Ask the person. What they typed went to the program itself and is in no audit log; where the
  program is a shell, it was a shell.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container
FROM events
-- create (SPDY) or get (WebSocket): the subresource tells.
WHERE resource = 'pods' AND subresource = 'attach' AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
