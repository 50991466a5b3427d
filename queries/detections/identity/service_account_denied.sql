/*
id: K8A-110
title: Service account denied something for the first time
severity: low
attack: [T1613, T1078]
controls: [API-4, MON-2]
first_seen: {key: [user_name, resource], lookback: 30d, learn: 7d}
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} was denied to {{verb}} {{what}} from {{source_ip}} ({{user_agent}}), for the first time in 30 days"
false_positives: >-
  A new version of a workload whose role was not extended. Its caches, which ask for whole kinds on
  and on, do not count.
respond: >-
  Ask the owner whether the workload should want this. If not, look at the pod: who entered it, what
  it downloaded, and what else its service account asked for.
*/
-- A workload asks for the same kinds all its life. One that tries something else is new, broken, or
-- somebody else's.
SELECT
  cluster, user_name, source_ip, user_agent, verb, resource, subresource, namespace, name, pod_name,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE user_name LIKE 'system:serviceaccount:%'
  AND response_code = 403 AND decision = 'forbid' AND stage = 'ResponseComplete'
  AND (pod_name IS NOT NULL
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
