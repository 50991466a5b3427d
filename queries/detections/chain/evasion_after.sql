/*
id: K8A-805
title: Traces removed after something serious
severity: high
attack: [T1070, T1685]
controls: [MON-3, MON-5]
over: findings
window: 2h
slide: 12m
dedup: 1d
describe: "{{user_name}} removed traces or defenses from {{source_ip}} after other serious findings: {{evasion}}"
false_positives: >-
  A clean-up after a test, or after an incident, by those who fought it.
respond: >-
  Keep the audit history: it holds what was deleted in the cluster. Revoke the credential, put back what
  was removed (log forwarders, policies, webhooks), and read the identity's findings from the first on.
*/
-- Both by one identity; a finding that is of removing traces itself does not count as what went before. A
-- grant that is taken back (K8A-318) goes with the finding of the grant: that is one act.
SELECT
  cluster, user_name, min(source_ip) AS source_ip, min(credential_id) AS credential_id,
  max(CASE WHEN attack LIKE '%"T1070%' OR attack LIKE '%"T1685%' OR attack LIKE '%"T1686%'
    THEN summary END) AS evasion,
  count(DISTINCT detection) AS detections
FROM findings
WHERE user_name IS NOT NULL AND user_name <> 'system:anonymous' AND severity <> 'informational'
  AND detection <> 'K8A-318'
GROUP BY cluster, user_name
HAVING min(CASE WHEN severity IN ('high', 'critical') AND attack NOT LIKE '%"T1070%'
      AND attack NOT LIKE '%"T1685%' AND attack NOT LIKE '%"T1686%' THEN event_time END)
    < max(CASE WHEN attack LIKE '%"T1070%' OR attack LIKE '%"T1685%' OR attack LIKE '%"T1686%'
      THEN last_seen END)
