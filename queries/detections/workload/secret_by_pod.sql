/*
id: K8A-530
title: Denied a secret, then a pod that is given it
severity: medium
attack: [T1552.007, T1610]
controls: [SEC-1]
window: 1h
dedup: 1d
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Request, resources: [secrets, pods, jobs, cronjobs], verbs: [get, list, watch, create], stages: [ResponseComplete]}
describe: "{{user_name}} was denied secrets in {{namespace}} {{denials}} times, then let {{first_workload}} have secrets there, from {{source_ip}}"
false_positives: >-
  A developer who may not read secrets, tried, and then ran a job that uses them rightly.
respond: >-
  Whoever may write pods reads what the pods are given. Look at what the pod ran and wrote, rotate
  the secret, and give the right to write pods in this namespace to fewer.
*/
SELECT
  cluster, user_name, namespace, min(source_ip) AS source_ip,
  count(*) FILTER (WHERE resource = 'secrets') AS denials,
  min(concat_ws('/', resource, name)) FILTER (WHERE resource <> 'secrets') AS first_workload
FROM events
WHERE ((resource = 'secrets' AND api_group IS NULL AND verb IN ('get', 'list', 'watch')
      AND response_code = 403 AND stage = 'ResponseComplete')
    -- What runs at once and is gone again. Deployments that use secrets are everybody's work.
    OR (resource IN ('pods', 'jobs', 'cronjobs') AND subresource IS NULL AND verb = 'create'
      AND response_code BETWEEN 200 AND 299
      AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
      AND json_exists(request_object, '$..["secret", "secretRef", "secretKeyRef"]')))
GROUP BY cluster, user_name, namespace
HAVING min(event_time) FILTER (WHERE resource = 'secrets')
  < max(event_time) FILTER (WHERE resource <> 'secrets')
