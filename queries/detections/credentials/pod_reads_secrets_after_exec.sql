/*
id: K8A-228
title: A pod begins to read secrets after somebody ran a command in it
severity: medium
attack: [T1609, T1552.007]
controls: [SEC-1, WL-9]
window: 15m
slide: 1m
dedup: 24h
needs: {level: Metadata, resources: [pods/exec, pods/attach, secrets], verbs: [create, get, list, watch], stages: [ResponseStarted, ResponseComplete]}
describe: "{{intruder}} ran a command in pod {{namespace}}/{{pod}}, then {{account}} read {{reads}} secrets or lists of secrets from that pod with {{user_agent}} at {{source_ip}}"
false_positives: >-
  Debugging by the pod's owners with kubectl or curl inside of it; a job with a script that reads
  secrets, looked at while it runs.
respond: >-
  Ask the person. If it was not them, delete the pod, which ends its token, and rotate the secrets
  it read.
*/
-- The token of a pod tells the pod. Read by a tool of the hand, or listed as no cache does: that
-- the pod's own program reads is no news. Nor is what was read in the same way before the command.
SELECT
  cluster,
  CASE WHEN resource = 'pods' THEN namespace ELSE split_part(user_name, ':', 3) END AS namespace,
  CASE WHEN resource = 'pods' THEN name ELSE pod_name END AS pod,
  min(user_name) FILTER (WHERE resource = 'pods') AS intruder,
  min(user_name) FILTER (WHERE resource = 'secrets') AS account,
  min(user_agent) FILTER (WHERE resource = 'secrets') AS user_agent,
  min(source_ip) FILTER (WHERE resource = 'secrets') AS source_ip,
  count(DISTINCT concat(namespace, '/', name)) FILTER (WHERE resource = 'secrets') AS reads
FROM events
WHERE (resource = 'pods' AND subresource IN ('exec', 'attach') AND stage = 'ResponseStarted'
    AND response_code < 300
    -- Runners of pipelines work by exec, and their jobs with kubectl: programs in pods are nobody.
    AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
        AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
        AND regexp_like(coalesce(user_agent, ''),
          '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
          IS NOT TRUE) IS NOT TRUE)
  OR (resource = 'secrets' AND verb IN ('get', 'list', 'watch') AND pod_name IS NOT NULL
    AND user_name LIKE 'system:serviceaccount:%' AND response_code BETWEEN 200 AND 299
    AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
    AND (regexp_like(coalesce(user_agent, ''),
        '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      OR (verb = 'list' AND url_param(request_uri, 'resourceVersion') IS NULL)))
GROUP BY cluster,
  CASE WHEN resource = 'pods' THEN namespace ELSE split_part(user_name, ':', 3) END,
  CASE WHEN resource = 'pods' THEN name ELSE pod_name END
HAVING min(event_time) FILTER (WHERE resource = 'pods')
  < min(event_time) FILTER (WHERE resource = 'secrets')
