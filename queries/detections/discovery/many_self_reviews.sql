/*
id: K8A-702
title: One identity asked again and again what it may do
severity: low
attack: [T1613, T1069]
controls: [HUNT-1]
window: 5m
slide: 30s
dedup: 1d
params: {reviews: 8, reviews_and_one_list: 6, reviews_and_two_lists: 4}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, resources: [selfsubjectaccessreviews, selfsubjectrulesreviews, selfsubjectreviews], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} asked {{reviews}} times what it may do from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Graphical clients (k9s, Lens, consoles) ask for each kind when they start; once a day is told.
respond: >-
  Ask the person. See whether the same identity then used what it had found.
*/
-- A rules review tells everything at once, so it weighs more than a question for one right.
SELECT
  cluster, user_name, source_ip, count(*) AS reviews, min(user_agent) AS user_agent
FROM events
WHERE resource IN ('selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews')
  AND verb = 'create' AND stage = 'ResponseComplete' AND response_code BETWEEN 200 AND 299
  AND NOT is_system_user(user_name)
  -- Operators ask for each kind that they might look after, when they start.
  AND (user_name LIKE 'system:serviceaccount:%' AND NOT regexp_like(user_agent,
    '^(kubectl|oc|k9s|curl|wget|httpie|python|go-http-client|mozilla)', 'i')) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
-- Counts side by side and no sum of them: only of counts is it known before the window ends that
-- they stay reached.
HAVING count(*) >= $reviews
  OR (count(*) >= $reviews_and_one_list AND count(*) FILTER (WHERE resource = 'selfsubjectrulesreviews') >= 1)
  OR (count(*) >= $reviews_and_two_lists AND count(*) FILTER (WHERE resource = 'selfsubjectrulesreviews') >= 2)
  OR count(*) FILTER (WHERE resource = 'selfsubjectrulesreviews') >= 3
