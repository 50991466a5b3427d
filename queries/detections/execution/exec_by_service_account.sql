/*
id: K8A-406
title: A service account ran a command in a pod
severity: low
attack: [T1609, T1078.004]
controls: [WL-9, RBAC-4]
key: [user_name, impersonated_user, namespace]
dedup: 24h
needs: {level: Metadata, resources: [pods/exec, pods/attach], verbs: [create, get], stages: [ResponseStarted]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Pipelines and scheduled jobs that use kubectl; people whose kubeconfig holds a service account's
  token. Programs of their own, with the token of their pod and without a terminal, do not count.
respond: >-
  Find who holds the token: of a pod, or made for a pipeline or a person. If nobody means it to run
  commands, take the right from the account and make its tokens void.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  pod_name, credential_id, coalesce(left(exec_command(request_uri), 500), '(attached)') AS command
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach') AND api_group IS NULL
  -- A session that came about switches protocols, and says so when it starts. Its completion tells
  -- of the same one again, hours later maybe.
  AND stage = 'ResponseStarted' AND response_code < 300
  AND user_name LIKE 'system:serviceaccount:%'
  -- Operators and runners are built like this. Whoever takes the token of one and the trouble to
  -- look like it is for others to find: by place, by what is run, by how many pods.
  AND (pod_name IS NOT NULL AND url_param(request_uri, 'tty') IS NULL
    AND NOT regexp_like(user_agent,
      '(?i)^(kubectl|oc|helm|k9s|curl|wget|python|go-http-client|mozilla)')) IS NOT TRUE
