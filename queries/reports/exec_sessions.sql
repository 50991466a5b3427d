/*
name: exec-sessions
title: Sessions in pods, with duration and command
describe: >-
  One row per exec, attach or port-forward that was let in. `seconds` is from its start to its end;
  NULL while it has not ended, or where the policy leaves out ResponseStarted. What was typed in a
  session no audit log shows.
params: {user: null, namespace: null, pod: null, limit: 1000}
needs: {level: Metadata, resources: [pods/exec, pods/attach, pods/portforward], stages: [ResponseStarted, ResponseComplete]}
controls: [WL-9]
*/
SELECT
  min(event_time) AS started, cluster, user_name, max(impersonated_user) AS impersonated_user,
  namespace, max(name) AS pod, subresource AS kind, max(exec_command(request_uri)) AS command,
  max(url_param(request_uri, 'container')) AS container,
  bool_or(url_param(request_uri, 'tty') = 'true') AS terminal,
  CASE WHEN count(DISTINCT stage) > 1 THEN
    (CAST(max(event_time) AS BIGINT) - CAST(min(event_time) AS BIGINT)) / 1000000.0 END AS seconds,
  source_ip, user_agent, max(response_code) AS response_code, audit_id
FROM events
WHERE event_time >= $since AND event_time < $until
  AND resource = 'pods' AND subresource IN ('exec', 'attach', 'portforward')
  AND stage IN ('ResponseStarted', 'ResponseComplete') AND decision = 'allow'
  AND (response_code < 400 OR response_code IS NULL)
  AND ($user IS NULL OR user_name = $user) AND ($namespace IS NULL OR namespace = $namespace)
  AND ($pod IS NULL OR name = $pod)
GROUP BY cluster, audit_id, request_time, user_name, namespace, subresource, source_ip, user_agent
ORDER BY started DESC, audit_id
LIMIT $limit
