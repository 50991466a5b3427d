/*
id: K8A-428
title: A service account used pods as people do
severity: medium
attack: [T1609, T1078.004]
controls: [WL-9, RBAC-4, SA-1]
key: [user_name, impersonated_user, namespace]
dedup: 24h
needs: {level: Metadata, resources: [pods/exec, pods/attach], verbs: [create, get], stages: [ResponseStarted]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}}): {{oddity}}"
false_positives: >-
  Web consoles that open terminals with their own account; scripts that nobody gave an account of
  their own. Runners, backups and operators with an account of their own do not count.
respond: >-
  Find the pod that the token belongs to and who can reach it, delete the pod (its token ends with
  it), and take the right to exec from the account.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  pod_name, credential_id, coalesce(left(exec_command(request_uri), 500), '(attached)') AS command,
  CASE WHEN user_name LIKE '%:default' THEN 'the account that every pod of its namespace has'
    ELSE concat('a terminal, with the token of pod ', pod_name) END AS oddity
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach') AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
  AND user_name LIKE 'system:serviceaccount:%'
  -- Machines exec all day. Not with an account that nobody meant to have rights, and not on a
  -- terminal with the token of a pod; tokens made for people are not bound to one.
  AND (user_name LIKE 'system:serviceaccount:%:default'
    OR (pod_name IS NOT NULL AND url_param(request_uri, 'tty') NOT IN ('false', '0')
      AND url_param(request_uri, 'stdin') NOT IN ('false', '0')))
