/*
id: K8A-613
title: Definition of a custom resource deleted, or converted outside the cluster
severity: low
attack: [T1485, T1546]
controls: [WL-6]
key: [user_name, impersonated_user, source_ip]
needs: {level: Metadata, resources: [customresourcedefinitions], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} took away or redirected the kind {{object}} by {{verb}} of its definition from {{source_ip}}"
false_positives: A component is removed by hand, its definitions with it.
respond: >-
  With a definition all objects of its kind are gone: restore them from their source. Conversion
  outside the cluster shows only where the audit policy records these bodies (level Request for
  apiextensions.k8s.io).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, coalesce(name, '(all)') AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'customresourcedefinitions' AND api_group = 'apiextensions.k8s.io'
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- A webhook that converts sees each object and says what it is. Components have one as a service
  -- of the cluster; an address is odd.
  AND (verb IN ('delete', 'deletecollection')
    OR json_exists(request_object, '$.spec.conversion.webhook.clientConfig.url')
    OR json_exists(request_object, '$[?search(@.path, "^/spec/conversion")]'))
