/*
id: K8A-608
title: Kubernetes events deleted
severity: medium
attack: [T1070]
controls: [MON-5]
key: [user_name, impersonated_user, source_ip, namespace]
needs: {level: Metadata, resources: [events], verbs: [delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} deleted events of namespace {{of_namespace}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  A janitor for old events, which the API server does not need: it lets them go after an hour. A
  person who wants a clean view of a test. A namespace's own end does not count.
respond: >-
  Ask the person. If it was not them, somebody covers tracks: what the same identity did in the
  namespace before is in the audit events, which they cannot delete.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  coalesce(namespace, '(all)') AS of_namespace,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
-- The same objects by their old API group and by their new one.
WHERE resource = 'events' AND (api_group IS NULL OR api_group = 'events.k8s.io')
  AND verb IN ('delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
