/*
id: K8A-806
title: Denied, then granted, then used
severity: high
attack: [T1098.006, T1078]
controls: [MON-3, RBAC-5, API-4]
over: findings
window: 1h
slide: 6m
dedup: 1d
describe: "{{user_name}} was denied, then had a powerful grant and used it from {{source_ip}}: {{granted}}"
false_positives: >-
  Somebody who asked for cluster-wide rights because they were denied, and got them within the hour.
respond: >-
  Ask who granted it, and whether it was asked for. If it was not meant, delete the binding, revoke both
  credentials, and undo what was done with it.
*/
-- Denials go by what detections say of themselves. The grant is K8A-319's, whose identity is the one who
-- used it, or K8A-306's, who gave it to itself.
SELECT
  cluster, user_name, min(source_ip) AS source_ip, min(credential_id) AS credential_id,
  min(CASE WHEN detection IN ('K8A-306', 'K8A-319') THEN summary END) AS granted,
  count(DISTINCT detection) AS detections
FROM findings
WHERE user_name IS NOT NULL
GROUP BY cluster, user_name
HAVING min(CASE WHEN regexp_like(title, '(?i)denied|refused|forbidden')
    AND detection NOT IN ('K8A-306', 'K8A-319')
    THEN event_time END)
  < max(CASE WHEN detection IN ('K8A-306', 'K8A-319') THEN last_seen END)
