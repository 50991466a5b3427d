/*
id: K8A-526
title: Namespace deleted by a person
severity: low
attack: [T1485]
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud]
needs: {level: Metadata, resources: [namespaces], verbs: [delete], stages: [ResponseComplete]}
describe: "{{user_name}} deleted the namespace {{name}} and all that is in it from {{source_ip}}"
false_positives: >-
  The end of a test environment or of a project.
respond: >-
  Ask the person. Objects are gone within seconds; volumes may survive by their reclaim policy.
*/
SELECT cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, name
FROM events
WHERE resource = 'namespaces' AND api_group IS NULL AND subresource IS NULL AND verb = 'delete'
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- People: pipelines take their environments down all day, in large numbers told by K8A-525.
  AND (user_name LIKE 'system:serviceaccount:%') IS NOT TRUE
