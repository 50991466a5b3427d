/*
id: K8A-626
title: API server panicked over a request
severity: low
attack: [T1499.004]
controls: [API-5]
key: [user_name, verb, resource]
needs: {level: Metadata, stages: [Panic]}
describe: "the API server panicked over {{verb}} of {{request_uri}} by {{user_name}} from {{source_ip}} ({{user_agent}})"
false_positives: Requests that ran into their time limit; a known fault of the version in use.
respond: >-
  Look for the trace in the API server's own log. The same request again and again, by one identity,
  is somebody who tries to bring it down.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, request_uri, coalesce(resource, '(none)')
    AS resource
FROM events
WHERE stage = 'Panic'
