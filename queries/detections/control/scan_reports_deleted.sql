/*
id: K8A-642
title: Reports of a scanner deleted by hand
severity: low
attack: [T1070, T1685]
controls: [IMG-3, MON-5]
key: [user_name, impersonated_user, source_ip, namespace]
needs: {level: Metadata, resources: [vulnerabilityreports, configauditreports, exposedsecretreports, rbacassessmentreports, clustercompliancereports, policyreports, clusterpolicyreports], verbs: [delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} deleted what a scanner found by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: Somebody who has everything scanned again.
respond: Have it scanned again, and see what was found before.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('vulnerabilityreports', 'configauditreports', 'exposedsecretreports',
    'rbacassessmentreports', 'clustercompliancereports', 'policyreports', 'clusterpolicyreports')
  AND api_group IN ('aquasecurity.github.io', 'wgpolicyk8s.io')
  -- What the engines themselves clean up, under accounts of their own.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
    IS NOT TRUE
  AND verb IN ('delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
