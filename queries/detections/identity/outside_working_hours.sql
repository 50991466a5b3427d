/*
id: K8A-133
title: Person at work outside of working hours
severity: low
enabled: false
attack: [T1078]
controls: [MON-2]
key: [user_name]
dedup: 12h
params: {people: '.+', days: '12345', from_hour: 6, to_hour: 20}
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} did {{verb}} {{what}} at {{hour}} h UTC of day {{day}} of the week from {{source_ip}}, outside of the hours that are set"
false_positives: >-
  Who is on call; a holiday in another country; a program with a user's name.
respond: >-
  Ask the person whether it was them. If not, revoke the credential and look at what it did that
  night.
*/
-- Hours and days are UTC's: from `from_hour` until before `to_hour` (over midnight if that is the
-- lesser), on `days` (0 is Sunday). `people` is a regular expression of whole names, for instance of
-- those of one time zone.
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, day, hour, credential_id,
  concat_ws('/', namespace, resource, subresource, name) AS what
FROM (
  SELECT *,
    CAST(date_part('dow', event_time) AS integer) AS day,
    CAST(date_part('hour', event_time) AS integer) AS hour
  FROM events
  -- What changes something, enters a workload or reads secrets. Consoles that are left open read
  -- the rest all night, and ask what they may.
  WHERE (verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
      OR resource = 'secrets' AND verb IN ('get', 'list')
      OR subresource IN ('exec', 'attach', 'portforward'))
    AND (api_group IN ('authorization.k8s.io', 'authentication.k8s.io')) IS NOT TRUE
    -- Done, not just allowed; sessions are answered 101.
    AND response_code BETWEEN 101 AND 299
    AND (stage = 'ResponseStarted') IS NOT TRUE
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    AND NOT is_system_user(user_name) AND user_name NOT LIKE 'system:serviceaccount:%'
    AND user_name <> 'system:anonymous'
) AS done
WHERE regexp_like(user_name, concat('^(', $people, ')$'))
  AND (strpos($days, CAST(day AS varchar)) = 0
    OR CASE WHEN $from_hour <= $to_hour THEN hour < $from_hour OR hour >= $to_hour
      ELSE hour < $from_hour AND hour >= $to_hour END)
