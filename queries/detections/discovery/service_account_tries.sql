/*
id: K8A-704
title: Service account tried out what it may do
severity: medium
attack: [T1613, T1069]
controls: [HUNT-1, API-4]
window: 10m
slide: 1m
dedup: 6h
params: {denied_kinds: 3, allowed_kinds: 3, kinds: 8}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, verbs: [get, list], stages: [ResponseComplete]}
describe: "{{user_name}} asked for {{kinds}} kinds from {{source_ip}} ({{user_agent}}): {{denied_kinds}} were denied, {{allowed_kinds}} were not"
false_positives: >-
  A person who works with an account's token in a graphical client. An operator whose role lacks
  something does not count as long as it asks as caches do.
respond: >-
  Find the pod that the token belongs to (pod_name), or who made the token, and see who entered the
  pod. If nobody did, the workload itself was taken over.
*/
-- A workload knows what it needs, and was given that. Many kinds, some of them denied, is somebody
-- who does not know.
SELECT
  cluster, user_name, source_ip, min(user_agent) AS user_agent, min(pod_name) AS pod_name,
  count(*) AS requests, count(DISTINCT concat_ws('/', resource, api_group)) AS kinds,
  count(DISTINCT concat_ws('/', resource, api_group)) FILTER (WHERE decision = 'forbid')
    AS denied_kinds,
  count(DISTINCT concat_ws('/', resource, api_group)) FILTER (WHERE decision = 'allow')
    AS allowed_kinds
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND verb IN ('get', 'list')
  AND resource IS NOT NULL AND subresource IS NULL AND stage = 'ResponseComplete'
  AND (pod_name IS NOT NULL
    AND url_param(request_uri, 'resourceVersion') IS NOT NULL) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT concat_ws('/', resource, api_group)) >= $kinds
  AND count(DISTINCT concat_ws('/', resource, api_group)) FILTER (WHERE decision = 'forbid')
    >= $denied_kinds
  AND count(DISTINCT concat_ws('/', resource, api_group)) FILTER (WHERE decision = 'allow')
    >= $allowed_kinds
