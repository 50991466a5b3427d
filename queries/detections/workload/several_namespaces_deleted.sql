/*
id: K8A-546
title: One person deletes several namespaces
severity: medium
attack: [T1485]
window: 1h
dedup: 1d
params: {namespaces: 4}
exempt: [control-plane, cloud]
needs: {level: Metadata, resources: [namespaces], verbs: [delete], stages: [ResponseComplete]}
describe: "{{user_name}} deleted {{namespaces}} namespaces within an hour from {{source_ip}}, the first of them {{first_name}}"
false_positives: >-
  A person who clears away test environments.
respond: >-
  Ask the person now; if it was not them, revoke the credential before the next one goes. Five
  within ten minutes are K8A-525.
*/
SELECT
  cluster, user_name, source_ip, count(DISTINCT name) AS namespaces, min(name) AS first_name,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'namespaces' AND api_group IS NULL AND subresource IS NULL AND verb = 'delete'
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- People: pipelines take their environments down all day, in large numbers told by K8A-525.
  AND (user_name LIKE 'system:serviceaccount:%') IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT name) >= $namespaces
