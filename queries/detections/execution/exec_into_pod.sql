/*
id: K8A-401
title: Command run inside a pod
severity: informational
attack: [T1609]
controls: [WL-9]
key: [user_name, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Debugging by the pod's owners; CI runners, backup tools and operators that work by exec. A fact,
  not an alarm: what is odd about a command, its target or who ran it are detections of their own.
respond: >-
  Ask the person. If it was not them, revoke the credential, keep the pod for inspection and treat
  its service account and mounted secrets as known to the attacker.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container,
  left(coalesce(exec_command(request_uri), ''), 500) AS command,
  coalesce(url_param(request_uri, 'tty'), 'false') AS tty
FROM events
-- A client's first request may be create (SPDY) or get (WebSocket): the subresource tells.
WHERE resource = 'pods' AND subresource = 'exec' AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
