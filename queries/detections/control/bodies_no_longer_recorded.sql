/*
id: K8A-625
title: Audit policy records less than it did
severity: medium
attack: [T1685.002]
controls: [API-5]
window: 6h
slide: 1h
dedup: 24h
params: {requests: 10}
needs: {level: Request, verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "bodies of {{verb}} of {{resource}} were recorded until {{last_body}} and not any more since {{first_without}} ({{without}} requests, among them of {{user_agent}})"
false_positives: >-
  The audit policy was changed with intent. A policy that tells users apart records the same thing
  in different ways; then one kind of user follows another here by chance.
respond: >-
  Compare the API server's audit policy (and its flags) with yours, on each machine of the control
  plane. Detections that read bodies are blind since: see which, by their `needs`.
*/
-- How far SQL reaches: a kind of request that had bodies and then has none, when both halves have
-- so many requests and do not overlap. Servers with different policies behind one address, and
-- kinds that are rare, stay unseen.
SELECT
  cluster, api_group, resource, verb, count(*) FILTER (WHERE level = 'Metadata') AS without,
  max(event_time) FILTER (WHERE level IN ('Request', 'RequestResponse')) AS last_body,
  min(event_time) FILTER (WHERE level = 'Metadata') AS first_without,
  min(user_agent) FILTER (WHERE level = 'Metadata') AS user_agent
FROM events
WHERE verb IN ('create', 'update', 'patch') AND subresource IS NULL
  AND response_code BETWEEN 200 AND 299
  -- The shipped policy leaves out the bodies of the API server's own requests.
  AND (user_name = 'system:apiserver') IS NOT TRUE
GROUP BY cluster, api_group, resource, verb
HAVING count(*) FILTER (WHERE level = 'Metadata') >= $requests
  AND count(*) FILTER (WHERE level IN ('Request', 'RequestResponse')) >= $requests
  AND max(event_time) FILTER (WHERE level IN ('Request', 'RequestResponse'))
    < min(event_time) FILTER (WHERE level = 'Metadata')
