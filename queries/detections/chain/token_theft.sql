/*
id: K8A-802
title: Token read inside a pod, then its service account used from elsewhere
severity: critical
attack: [T1528, T1550.001]
controls: [MON-3, SA-1, RBAC-4]
over: findings
window: 2h
slide: 12m
dedup: 1d
key: [user_name, thief]
describe: "{{thief}} read credentials by a command in pod {{pod}}, and {{user_name}} was used from {{source_ip}} afterwards: {{use}}"
false_positives: >-
  A test of exactly this. Nothing honest reads a token out of a pod and uses it elsewhere.
respond: >-
  Delete the pod (its tokens end with it), take the account's rights away, and revoke the credential of
  whoever ran the command. Then see what the account did from the new address.
*/
-- A service account is of the pod's namespace. Where the finding names the pod that the token was made
-- for, it is the very pod. The use may have begun before, by the pod itself: its last event counts.
SELECT
  theft.cluster, uses.user_name, theft.user_name AS thief,
  concat(theft.namespace, '/', theft.name) AS pod, theft.namespace AS namespace, theft.name AS name,
  uses.source_ip AS source_ip, uses.credential_id AS credential_id, min(uses.summary) AS use
FROM findings AS theft JOIN findings AS uses ON theft.cluster = uses.cluster
WHERE theft.detection = 'K8A-408' AND theft.namespace IS NOT NULL
  AND uses.user_name LIKE concat('system:serviceaccount:', theft.namespace, ':%')
  AND (uses.pod_name IS NULL OR theft.name IS NULL OR uses.pod_name = theft.name)
  AND uses.last_seen >= theft.first_seen
  -- From another address, at another place than its pod, from outside, with another program; or
  -- whatever it did from the very address of the one who read the token.
  AND (uses.detection IN ('K8A-113', 'K8A-115', 'K8A-116', 'K8A-119', 'K8A-120', 'K8A-121')
    OR uses.source_ip = theft.source_ip)
GROUP BY theft.cluster, uses.user_name, theft.user_name, theft.namespace, theft.name,
  uses.source_ip, uses.credential_id
