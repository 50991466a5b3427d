/*
id: K8A-405
title: First command of an identity in a namespace
severity: low
attack: [T1609]
controls: [WL-9, MON-2, RBAC-6]
first_seen: {key: [user_name, impersonated_user, namespace], lookback: 30d, learn: 7d}
needs: {level: Metadata, resources: [pods/exec, pods/attach], verbs: [create, get], stages: [ResponseStarted]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}, their first session in that namespace within 30 days"
false_positives: >-
  A new colleague, an old one on a new task, an operator that was installed. Worth a look together
  with what else the identity did for the first time.
respond: >-
  Ask the person. If it was not them, revoke the credential and see what else it ran.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  coalesce(left(exec_command(request_uri), 500), 'what was running') AS command
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach') AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
