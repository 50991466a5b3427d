/*
id: K8A-807
title: Findings of one identity add up
severity: high
attack: [T1078]
controls: [MON-3, MON-2]
over: findings
window: 24h
slide: 1h
dedup: 7d
key: [user_name]
params: {score: 60}
describe: "{{user_name}} has a score of {{score}} by {{detections}} detections within a day ({{critical}} critical, {{high}} high, {{medium}} medium, {{low}} low), last from {{source_ip}}"
false_positives: >-
  Whoever sets up a cluster, on that day.
respond: >-
  Read the findings of the identity in the order of time and ask its owner about the first that is odd.
*/
-- Each detection counts once, however often it found something: one that is loud does not make a score.
-- A finding is as many points as its severity is worth.
SELECT
  cluster, user_name,
  count(DISTINCT concat(detection, ' ', point)) AS score, count(DISTINCT detection) AS detections,
  count(DISTINCT CASE WHEN severity = 'critical' THEN detection END) AS critical,
  count(DISTINCT CASE WHEN severity = 'high' THEN detection END) AS high,
  count(DISTINCT CASE WHEN severity = 'medium' THEN detection END) AS medium,
  count(DISTINCT CASE WHEN severity = 'low' THEN detection END) AS low,
  max(source_ip) AS source_ip, min(credential_id) AS credential_id
FROM (
  SELECT *, unnest(range(0, CASE severity WHEN 'critical' THEN 50 WHEN 'high' THEN 20 WHEN 'medium'
  THEN 8
    ELSE 2 END)) AS point
  FROM findings
  WHERE user_name IS NOT NULL AND user_name <> 'system:anonymous' AND severity <> 'informational'
) AS points
GROUP BY cluster, user_name
HAVING count(DISTINCT concat(detection, ' ', point)) >= $score
