/*
id: K8A-708
title: Names of objects guessed
severity: low
attack: [T1613, T1552.007]
controls: [HUNT-1, SEC-1]
window: 10m
slide: 1m
dedup: 6h
params: {names: 12}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Metadata, verbs: [get, create, patch, update, delete], stages: [ResponseComplete]}
describe: "{{user_name}} asked for {{guesses}} {{resource}} that do not exist, from {{source_ip}} ({{user_agent}})"
false_positives: >-
  A program that looks whether optional objects exist. What is then created, or was just deleted,
  does not count.
respond: >-
  See which names were asked for and which of them were found. For secrets, rotate those that were.
*/
-- `kubectl apply` and Helm ask for each object before they create it; waiting for a deletion asks
-- until the object is gone. So names that the same identity wrote or deleted do not count, and one
-- name in many namespaces is one name.
SELECT
  cluster, user_name, resource, api_group, min(source_ip) AS source_ip,
  min(user_agent) AS user_agent,
  count(DISTINCT name) FILTER (WHERE response_code = 404) AS guesses, count(*) AS requests
FROM events
WHERE resource IS NOT NULL AND name IS NOT NULL AND subresource IS NULL
  AND stage = 'ResponseComplete'
  AND (verb = 'get' AND response_code = 404
    OR verb IN ('create', 'patch', 'update', 'delete') AND response_code BETWEEN 200 AND 299)
  AND NOT is_system_user(user_name)
GROUP BY cluster, user_name, resource, api_group
HAVING count(DISTINCT name)
    - count(DISTINCT name) FILTER (WHERE verb IN ('create', 'patch', 'update', 'delete')) >= $names
