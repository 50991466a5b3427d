/*
id: K8A-636
title: API led to another service
severity: high
attack: [T1557]
controls: [API-6]
key: [user_name, impersonated_user, object]
needs: {level: Request, resources: [apiservices], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} led requests for {{object}} to another service by {{verb}} of its APIService from {{source_ip}}: {{change}}"
false_positives: >-
  Metrics are moved from one implementation to another by hand.
respond: >-
  Put the APIService back. The service saw who asks for what, and could answer as it liked: what
  trusted the answers (autoscalers, people) may have acted on them. Look at who wrote the service
  and its pods.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb,
  coalesce(name, json_value(request_object, '$.metadata.name')) AS object,
  left(coalesce(nullif(json_query(request_object, '$.spec.service'), '[]'), request_object), 300)
    AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'apiservices' AND api_group = 'apiregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- Another service for an API that is there already. An object that is applied as a whole says
    -- its group and priorities too, and mostly nothing new.
    (verb = 'patch' AND json_exists(request_object, '$.spec.service')
      AND json_exists(request_object, '$.spec.groupPriorityMinimum') IS NOT TRUE)
    OR json_exists(request_object, '$[?search(@.path, "^/spec/service")]')
    -- The API server's own APIs are answered by itself: no service has a part in them.
    OR (json_exists(request_object, '$.spec.service.name') AND regexp_like(name, concat(
      '^v[0-9][a-z0-9]*\.((apps|batch|autoscaling|policy)?$|(rbac\.authorization|authentication|',
      'authorization|admissionregistration|apiregistration|apiextensions|certificates|',
      'coordination|discovery|events|networking|node|storage|scheduling)\.k8s\.io$)'))))
