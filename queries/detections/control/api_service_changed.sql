/*
id: K8A-612
title: Extension API registered, changed or removed by hand
severity: low
attack: [T1546, T1557]
controls: [API-6]
key: [user_name, impersonated_user, object]
needs: {level: Request, resources: [apiservices], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} changed who answers for {{object}} by {{verb}} of an APIService from {{source_ip}}"
false_positives: The installation of metrics, autoscalers and the like.
respond: Find out what service answers for the API now, and who owns it.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, coalesce(name, '(all)') AS object,
  json_value(request_object, '$.spec.service.namespace') AS service_namespace,
  json_value(request_object, '$.spec.service.name') AS service,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'apiservices' AND api_group = 'apiregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Labels and annotations are no change of who answers.
  AND (verb IN ('delete', 'deletecollection') OR json_exists(request_object, '$.spec.service')
    OR json_exists(request_object, '$.spec.insecureSkipTLSVerify')
    OR json_exists(request_object, '$[?search(@.path, "^/spec")]'))
  -- Operators write the certificates of their own APIs all day.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb IN ('update', 'patch')) IS NOT TRUE
