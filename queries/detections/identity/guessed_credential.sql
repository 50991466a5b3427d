/*
id: K8A-107
title: Failed authentications from one address, then one that was right
severity: medium
attack: [T1110.001, T1078]
controls: [API-4]
window: 15m
slide: 1m
dedup: 6h
params: {failures: 15}
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{source_ip}} ({{user_agent}}) failed authentication {{failures}} times, then got in as {{user_name}}"
false_positives: >-
  A person or job whose token had expired, tried on and on, and was renewed. Kubelets and pods that
  renew theirs do not count.
respond: >-
  Ask the user whether they logged in there just then. If not, revoke the credential, block the
  address and see what it did since the first success.
*/
-- The same tool at the same address, so that a neighbour behind the same proxy is not taken for the
-- one who tried. Nobody got in with it before or between the failures: traffic in which an expired
-- client and a healthy one share an address looks different.
SELECT
  cluster, source_ip, user_agent,
  count(*) FILTER (WHERE response_code = 401) AS failures,
  min(user_name) AS user_name, count(DISTINCT user_name) AS users,
  min(event_time) FILTER (WHERE response_code = 200) AS got_in
FROM events
WHERE response_code = 401 AND user_name IS NULL
  -- A request that asked for something and got it: discovery and reviews tell a client who it is.
  OR response_code = 200 AND decision = 'allow' AND stage = 'ResponseComplete'
    AND resource IS NOT NULL AND NOT is_system_user(user_name)
    AND user_name <> 'system:anonymous'
    -- A pod whose token was renewed under it.
    AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
      AND private_ip(source_ip)) IS NOT TRUE
GROUP BY cluster, source_ip, user_agent
HAVING count(*) FILTER (WHERE response_code = 401) >= $failures
  AND min(event_time) FILTER (WHERE response_code = 200)
    > max(event_time) FILTER (WHERE response_code = 401)
