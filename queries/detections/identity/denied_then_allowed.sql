/*
id: K8A-109
title: Denied again and again, then allowed
severity: medium
attack: [T1098.006, T1078]
controls: [API-4, RBAC-2]
window: 1h
slide: 6m
dedup: 6h
params: {denials: 3}
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} was denied {{denials}} times to {{verb}} {{what}}, then did it from {{source_ip}}"
false_positives: >-
  Somebody who was given a right that they had asked for, having tried several times, or a job that
  tried until its role was there. Rights that Pods' caches wait for do not count.
respond: >-
  Find the binding that authorization_reason names, who wrote it and when. Nobody wrote one lately:
  the identity found names that it may reach, so see which.
*/
-- Only what is worth getting into: secrets, sessions, tokens, RBAC, and writes of what runs. A
-- developer's retries at reading pods are no finding.
SELECT
  cluster, user_name, verb, resource, subresource, namespace,
  concat_ws('/', namespace, resource, subresource) AS what,
  count(*) FILTER (WHERE decision = 'forbid') AS denials,
  count(*) FILTER (WHERE decision = 'allow') AS successes,
  min(source_ip) FILTER (WHERE decision = 'allow') AS source_ip,
  min(decision_reason) FILTER (WHERE decision = 'allow') AS authorization_reason
FROM events
WHERE NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
  AND (response_code = 403 AND decision = 'forbid'
    OR response_code BETWEEN 101 AND 299 AND decision = 'allow')
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    stage = 'ResponseComplete' AND (
      resource = 'secrets' AND verb IN ('get', 'list')
      OR resource = 'serviceaccounts' AND subresource = 'token'
      OR api_group = 'rbac.authorization.k8s.io'
        AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
      OR resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'jobs', 'cronjobs')
        AND subresource IS NULL
        AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection'))
    -- Of what may last long, the start.
    OR stage = 'ResponseStarted' AND (
      resource = 'secrets' AND verb = 'watch'
      OR resource IN ('pods', 'services', 'nodes')
        AND subresource IN ('exec', 'attach', 'portforward', 'proxy')))
  -- The caches of an operator whose role comes later than its pod.
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
GROUP BY cluster, user_name, verb, resource, subresource, namespace
HAVING count(*) FILTER (WHERE decision = 'forbid') >= $denials
  -- In this order: rights that were taken away look the other way round.
  AND min(event_time) FILTER (WHERE decision = 'allow')
    > max(event_time) FILTER (WHERE decision = 'forbid')
