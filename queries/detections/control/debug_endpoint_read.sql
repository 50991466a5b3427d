/*
id: K8A-631
title: Debug endpoint of the API server read
severity: low
attack: [T1613, T1005]
controls: [API-6]
key: [user_name, impersonated_user, source_ip]
needs: {level: Metadata, verbs: [get], stages: [ResponseStarted, ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, platform]
describe: "{{user_name}}{{acting_as}} read {{request_uri}} of the API server from {{source_ip}} ({{user_agent}})"
false_positives: Somebody who measures the API server; support of the cloud's maker.
respond: >-
  Profiles and logs show what the API server has in memory and whom it serves, and profiling slows
  it. Ask the person; turn profiling off where nobody needs it (--profiling=false).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, request_uri,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
-- /metrics is what monitoring reads all day, and people now and then.
WHERE resource IS NULL AND verb = 'get' AND response_code BETWEEN 200 AND 299
  AND regexp_like(request_uri, '^/(debug|logs|configz|flagz|statusz)(/|\?|$)')
  -- Profiles are told of when they begin and when they end.
  AND ((request_uri LIKE '/debug/pprof/%' AND stage = 'ResponseStarted')
    OR (request_uri NOT LIKE '/debug/pprof/%' AND stage = 'ResponseComplete'))
