/*
id: K8A-422
title: Session in a container lasted long
severity: low
attack: [T1609, T1572]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
params: {minutes: 60, minutes_of_command: 240}
needs: {level: Metadata, resources: [pods/exec, pods/attach], verbs: [create, get], stages: [ResponseComplete]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} had a session of {{minutes}} minutes (`{{command}}`) in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  A terminal left open, a dump of a database, an editor that works in a container.
respond: >-
  Ask the person. A session that stays is a way in that needs no further request: nothing of what
  passed in it is in the audit log. The kubelet on the pod's node may still know the processes.
*/
-- An exec is told of when it starts and when it ends, and the end knows when the request came: no
-- need to find the start, which may be in another file or hours away. What has not ended yet is not
-- told here.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  subresource, coalesce(left(exec_command(request_uri), 500), '(attached)') AS command,
  date_part('epoch', event_time - request_time)::BIGINT / 60 AS minutes
FROM events
WHERE resource = 'pods' AND subresource IN ('exec', 'attach') AND api_group IS NULL
  AND stage = 'ResponseComplete' AND response_code < 300
  -- With something to type into it; a command that takes its time is work mostly, not a way in.
  AND date_part('epoch', event_time - request_time)::BIGINT / 60 >= CASE
    WHEN url_param(request_uri, 'stdin') NOT IN ('false', '0') THEN $minutes
    ELSE $minutes_of_command END
