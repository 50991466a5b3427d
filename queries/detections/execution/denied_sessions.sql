/*
id: K8A-415
title: One identity was denied sessions in pods again and again
severity: medium
attack: [T1609, T1613]
controls: [API-4, WL-9]
window: 10m
slide: 1m
params: {pods: 5, requests: 20}
needs: {level: Metadata, resources: [pods/exec, pods/attach, pods/portforward, pods/ephemeralcontainers], verbs: [create, get, patch, update], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} was denied sessions in {{pods}} pods of {{namespaces}} namespaces, in {{requests}} requests from {{source_ip}}"
false_positives: >-
  Somebody whose role is not written yet and who tries one pod after the other.
respond: >-
  Ask the owner of the identity. If it was not them, revoke the credential, and see what else it
  tried and was allowed.
*/
-- Pods rather than tries: kubectl asks by WebSocket and, denied, once more by SPDY. Only a
-- request's completion counts, for one that is denied has a start as well. A 403 of admission (of a
-- policy engine, say) comes after authorization and is a decision about the pod.
SELECT
  cluster, user_name, impersonated_user, source_ip,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  count(*) AS requests,
  count(DISTINCT namespace || '/' || name) AS pods, count(DISTINCT namespace) AS namespaces,
  min(user_agent) AS user_agent
FROM events
WHERE resource = 'pods' AND api_group IS NULL
  AND subresource IN ('exec', 'attach', 'portforward', 'ephemeralcontainers')
  AND response_code = 403 AND stage = 'ResponseComplete' AND (decision IS DISTINCT FROM 'allow')
GROUP BY cluster, user_name, impersonated_user, source_ip
HAVING count(DISTINCT namespace || '/' || name) >= $pods
  -- Or one pod with zeal. A program that lacks a right asks on and on.
  OR count(*) FILTER (WHERE (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL)
    IS NOT TRUE) >= $requests
