/*
id: K8A-226
title: Registry credential read in one namespace, then used in another
severity: low
attack: [T1552.007, T1525]
controls: [SEC-1, RBAC-6, IMG-1]
window: 30m
slide: 5m
dedup: 24h
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Request, resources: [secrets, pods, deployments, daemonsets, statefulsets, replicasets, jobs, cronjobs], verbs: [get, create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} read registry credential {{secret}} in {{read_in}}, then ran images with it in {{used_in}}, from {{source_ip}}"
false_positives: >-
  Somebody who copies the credential of a registry to a namespace of their own, as manuals say.
respond: >-
  Ask whether the namespace may have the credential, and see which images were pulled with it.
*/
SELECT
  cluster, user_name,
  CASE WHEN resource = 'secrets' THEN name
    ELSE json_value(pod_spec(request_object), '$.imagePullSecrets[0].name') END AS secret,
  min(namespace) FILTER (WHERE resource = 'secrets') AS read_in,
  min(namespace) FILTER (WHERE resource <> 'secrets') AS used_in,
  min(source_ip) FILTER (WHERE resource <> 'secrets') AS source_ip
FROM events
WHERE response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  AND ((resource = 'secrets' AND api_group IS NULL AND verb = 'get')
    OR (resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets', 'jobs',
        'cronjobs') AND subresource IS NULL AND verb IN ('create', 'update', 'patch')
      AND json_value(pod_spec(request_object), '$.imagePullSecrets[0].name') IS NOT NULL))
  -- Programs in pods do so as their work.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
GROUP BY cluster, user_name,
  CASE WHEN resource = 'secrets' THEN name
    ELSE json_value(pod_spec(request_object), '$.imagePullSecrets[0].name') END
HAVING min(event_time) FILTER (WHERE resource = 'secrets')
    < max(event_time) FILTER (WHERE resource <> 'secrets')
  -- Used where it was not read.
  AND count(DISTINCT namespace) > count(DISTINCT namespace) FILTER (WHERE resource = 'secrets')
