/*
name: audit-coverage
title: What the audit log shows of each resource
describe: >-
  One row per resource and verb with the levels at which it was logged, and for how many events
  bodies were cut off: where `Metadata` is the highest, no question about content has an answer.
params: {limit: 10000}
needs: {level: Metadata}
controls: [API-5]
*/
SELECT
  cluster, api_group, concat_ws('/', resource, subresource) AS resource, verb, count(*) AS events,
  count(*) FILTER (WHERE level = 'Metadata') AS metadata,
  count(*) FILTER (WHERE level = 'Request') AS request,
  count(*) FILTER (WHERE level = 'RequestResponse') AS request_response,
  count(*) FILTER (WHERE truncated) AS truncated,
  count(DISTINCT stage) AS stages, min(event_time) AS first_time, max(event_time) AS last_time
FROM events
WHERE event_time >= $since AND event_time < $until
GROUP BY 1, 2, 3, 4
ORDER BY events DESC, resource, verb
LIMIT $limit
