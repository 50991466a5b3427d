/*
id: K8A-638
title: Quota or limits of a namespace removed or changed by hand
severity: low
attack: [T1685, T1496]
controls: [WL-8]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [resourcequotas, limitranges], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} {{change}} {{resource}} {{object}} from {{source_ip}}"
false_positives: A team that was given more room.
respond: >-
  Ask who agreed. What a quota is changed to shows only where the audit policy records it (level
  Request for resourcequotas and limitranges).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE WHEN verb IN ('delete', 'deletecollection') THEN 'removed'
    WHEN json_exists(request_object, '$.spec') THEN
      concat('set to ', left(json_query(request_object, '$.spec'), 200))
    ELSE 'changed' END AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('resourcequotas', 'limitranges') AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
  -- Operators of projects keep quotas as they are described elsewhere.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb IN ('update', 'patch')) IS NOT TRUE
  -- Where the body is recorded: a label is no change.
  AND (verb IN ('delete', 'deletecollection') OR request_object IS NULL
    OR json_exists(request_object, '$.spec') OR json_exists(request_object,
      '$[?search(@.path, "^/spec")]'))
