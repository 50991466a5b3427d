/*
id: K8A-424
title: One identity made a pod, ran a command in it and deleted it
severity: low
attack: [T1610, T1609, T1070]
controls: [WL-9, MON-3]
window: 30m
slide: 1m
needs: {level: Request, resources: [pods, pods/exec], verbs: [create, get, delete], stages: [ResponseStarted, ResponseComplete]}
exempt: [gitops, platform, execution-tools]
describe: "{{user_name}}{{acting_as}} made pod {{namespace}}/{{pod}}, ran {{sessions}} commands in it and deleted it, from {{source_ip}}"
false_positives: >-
  A pod made to try something out. Runners of jobs that work by exec with the token of their own pod
  do not count; exempt those that live outside the cluster.
respond: >-
  Ask the person. The pod is gone, and its log with it: its specification is in the body of the
  request that made it, what it could reach is what its service account and its node could.
*/
SELECT
  cluster, user_name, impersonated_user, namespace, pod, min(source_ip) AS source_ip,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  count(*) FILTER (WHERE subresource = 'exec') AS sessions,
  min(event_time) FILTER (WHERE verb = 'create' AND subresource IS NULL) AS made,
  max(event_time) FILTER (WHERE verb = 'delete') AS deleted,
  max(decision_reason) AS decision_reason
FROM (
  SELECT *,
    -- A generated name is not known when the pod is made, only what it begins with.
    regexp_replace(coalesce(name, json_value(request_object, '$.metadata.generateName')),
      '-([2-9bcdfghj-np-tv-xz]{5})?$', '') AS pod
  FROM events
  WHERE resource = 'pods' AND api_group IS NULL
    AND ((subresource IS NULL AND verb = 'create' AND stage = 'ResponseComplete'
        AND response_code BETWEEN 200 AND 299
        AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All'))
      OR (subresource IS NULL AND verb = 'delete' AND name IS NOT NULL
        AND stage = 'ResponseComplete' AND response_code BETWEEN 200 AND 299
        AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All'))
      OR (subresource = 'exec' AND stage = 'ResponseStarted' AND response_code < 300))
    -- Controllers make and delete pods, and run nothing in them: not worth remembering.
    AND (user_name LIKE 'system:serviceaccount:kube-system:%'
      AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE
    -- A program with the token of its pod: runners of jobs work like this, all day.
    AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
      AND url_param(request_uri, 'tty') IS NULL) IS NOT TRUE
  )
GROUP BY cluster, user_name, impersonated_user, namespace, pod
-- In this order.
HAVING min(event_time) FILTER (WHERE verb = 'create' AND subresource IS NULL)
    < max(event_time) FILTER (WHERE subresource = 'exec')
  AND min(event_time) FILTER (WHERE subresource = 'exec')
    < max(event_time) FILTER (WHERE verb = 'delete')
