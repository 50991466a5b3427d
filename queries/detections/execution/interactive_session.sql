/*
id: K8A-413
title: Interactive session opened in a container
severity: informational
attack: [T1609, T1059.004]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} opened a terminal (`{{command}}`) in pod {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Debugging by the pod's owners. A fact, not an alarm: what was typed is in no audit log, which is
  why it is told apart from single commands.
respond: >-
  Ask the person. If it was not them, revoke the credential and replace the pod: what was done in it
  is not known.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container,
  left(coalesce(exec_command(request_uri), ''), 500) AS command
FROM events
WHERE resource = 'pods' AND subresource = 'exec' AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
  -- A terminal, and something to type into it. The API server takes all but these for true.
  AND url_param(request_uri, 'tty') NOT IN ('false', '0')
  AND url_param(request_uri, 'stdin') NOT IN ('false', '0')
