/*
id: K8A-112
title: Service account does something powerful that it never did
severity: low
attack: [T1078, T1552.007]
controls: [RBAC-3, MON-2]
first_seen: {key: [user_name, verb, resource, subresource], lookback: 30d, learn: 7d}
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} did {{verb}} {{what}} from {{source_ip}} ({{user_agent}}), for the first time in 30 days"
false_positives: >-
  An operator that was just installed, or does in its new version what it did not before. What it
  keeps a cache of does not count.
respond: >-
  Ask the owner whether this belongs to the workload. If not, look at who entered its pod or made a
  token of it, and take away the rights.
*/
SELECT
  cluster, user_name, source_ip, user_agent, verb, resource, subresource, namespace, name, pod_name,
  concat_ws('/', namespace, resource, subresource, name) AS what
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND decision = 'allow'
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The caches of an operator that is new: a pod's own token, asking as informers do.
  AND (resource = 'secrets' AND pod_name IS NOT NULL
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
  AND (
    response_code BETWEEN 200 AND 299 AND stage = 'ResponseComplete' AND (
      resource = 'secrets' AND verb IN ('get', 'list', 'watch')
      OR resource = 'serviceaccounts' AND subresource = 'token'
      OR resource = 'certificatesigningrequests'
        AND verb IN ('create', 'update', 'patch')
      OR api_group IN ('rbac.authorization.k8s.io', 'admissionregistration.k8s.io')
        AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
      OR resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'jobs', 'cronjobs')
        AND subresource IS NULL AND verb IN ('create', 'update', 'patch'))
    OR stage = 'ResponseStarted' AND response_code < 300
      AND resource IN ('pods', 'services', 'nodes')
      AND subresource IN ('exec', 'attach', 'portforward', 'proxy'))
