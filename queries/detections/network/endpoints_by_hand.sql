/*
id: K8A-620
title: Endpoints of a service written by hand
severity: low
attack: [T1557]
controls: [NET-1]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [endpoints, endpointslices], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} wrote to where a service leads by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: A service for something outside the cluster, whose addresses a person keeps.
respond: >-
  Read the addresses (they are not recorded). One that is not of the service's pods gets part of its
  connections, whatever network policies say.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE ((resource = 'endpoints' AND api_group IS NULL)
    OR (resource = 'endpointslices' AND api_group = 'discovery.k8s.io'))
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Operators write endpoints too: to elect a leader, to mirror a service.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
    IS NOT TRUE
  AND NOT is_system_user(user_name)
