/*
id: K8A-401
title: Command run inside a pod
severity: medium
attack: [T1609]
controls: [WL-9]
key: [user_name, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Debugging by the pod's owners; CI runners and backup tools that work by exec, to be exempted by
  user and command.
respond: >-
  Ask the person. If it was not them, revoke the credential, keep the pod for inspection and treat
  its service account and mounted secrets as known to the attacker.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  url_param(request_uri, 'container') AS container,
  coalesce(exec_command(request_uri), '') AS command,
  coalesce(url_param(request_uri, 'tty'), 'false') AS tty
FROM events
-- A client's first request may be create (SPDY) or get (WebSocket): the subresource tells.
WHERE resource = 'pods' AND subresource = 'exec' AND api_group IS NULL
  -- An exec that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same session again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
