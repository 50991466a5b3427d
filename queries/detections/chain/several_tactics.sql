/*
id: K8A-801
title: One identity goes through several tactics of an attack
severity: high
attack: [T1078]
controls: [MON-3, MON-2]
over: findings
window: 30m
slide: 3m
dedup: 1d
params: {tactics: 2, tactics_with_weak: 3}
describe: "{{user_name}} went through {{tactics}} tactics within half an hour ({{which}}), found by {{detections}} detections, from {{source_ip}}"
false_positives: >-
  An administrator who sets up or repairs a cluster does what an intruder does. The findings that it is
  made of say whether it was that.
respond: >-
  Read the findings of the identity in the order of time. If one of them is not explained by its owner,
  take all of them for one attack: revoke the credential first, then undo from the newest to the oldest.
*/
-- What a finding is evidence of goes by the first technique that its detection names: one finding is one
-- step, though most techniques serve several tactics. Findings that an ordinary day has count only
-- beside others.
SELECT
  cluster, user_name, count(DISTINCT tactic) AS tactics, count(DISTINCT detection) AS detections,
  concat_ws(', ', max(CASE WHEN tactic = 'initial access' THEN tactic END),
    max(CASE WHEN tactic = 'execution' THEN tactic END),
    max(CASE WHEN tactic = 'persistence' THEN tactic END),
    max(CASE WHEN tactic = 'privilege escalation' THEN tactic END),
    max(CASE WHEN tactic = 'defense evasion' THEN tactic END),
    max(CASE WHEN tactic = 'credential access' THEN tactic END),
    max(CASE WHEN tactic = 'discovery' THEN tactic END),
    max(CASE WHEN tactic = 'lateral movement' THEN tactic END),
    max(CASE WHEN tactic = 'collection' THEN tactic END),
    max(CASE WHEN tactic = 'command and control' THEN tactic END),
    max(CASE WHEN tactic = 'impact' THEN tactic END)) AS which,
  min(source_ip) AS source_ip, min(credential_id) AS credential_id, min(summary) AS one_of_them
FROM (
  SELECT *, CASE
      WHEN regexp_like(technique, '^T(1190|1133|1078|1566)') THEN 'initial access'
      WHEN regexp_like(technique, '^T(1609|1610|1053|1204|1059|1651)') THEN 'execution'
      WHEN regexp_like(technique, '^T(1098|1136|1525|1543|1505|1547|1037|1554)') THEN 'persistence'
      WHEN regexp_like(technique, '^T(1611|1068|1548|1134|1484)') THEN 'privilege escalation'
      WHEN regexp_like(technique, '^T(1562|1070|1036|1612|1027|1564|1553|1600|1685|1690)')
        THEN 'defense evasion'
      WHEN regexp_like(technique, '^T(1552|1528|1110|1003|1555|1557|1556|1606|1649|1539|1621)')
        THEN 'credential access'
      WHEN regexp_like(technique, '^T(1613|1069|1046|1087|1018|1083|1526|1580|1619|1518|1082|1595|1590)')
        THEN 'discovery'
      WHEN regexp_like(technique, '^T(1550|1021|1210|1570|1563)') THEN 'lateral movement'
      WHEN regexp_like(technique, '^T(1602|1530|1005|1213|1119|1074)') THEN 'collection'
      WHEN regexp_like(technique, '^T(1071|1090|1572|1105|1219|1041|1048|1537|1567)')
        THEN 'command and control'
      WHEN regexp_like(technique, '^T(1485|1486|1489|1490|1496|1498|1499|1529|1531|1491|1565|1495)')
        THEN 'impact'
    END AS tactic
  FROM (
    SELECT cluster, event_time, event_id, audit_id,
      detection, severity, attack, summary, source_ip, credential_id,
      json_value(attack, '$[0]') AS technique, user_name
    FROM findings
  ) AS named
  -- An identity, not an address: many are behind one. Facts about objects say nothing of intent.
  WHERE user_name IS NOT NULL AND user_name <> 'system:anonymous' AND severity <> 'informational'
) AS steps
WHERE tactic IS NOT NULL
GROUP BY cluster, user_name
-- Steps, not several findings about one request.
HAVING count(DISTINCT event_time) >= 2
  AND (count(DISTINCT CASE WHEN severity <> 'low' THEN tactic END) >= $tactics
    OR (count(DISTINCT CASE WHEN severity IN ('high', 'critical') THEN detection END) >= 1
      AND count(DISTINCT tactic) >= $tactics_with_weak))
