/*
id: K8A-524
title: One identity creates very many pods
severity: medium
attack: [T1496.001, T1499]
controls: [WL-8]
window: 10m
params: {pods: 50}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [pods], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created {{pods}} pods in {{namespaces}} namespaces within 10 minutes from {{source_ip}}"
false_positives: >-
  A script of batch work that writes pods instead of jobs.
respond: >-
  Stop it: delete the pods, set a quota on the namespace, and ask the person. What the pods run
  tells mining from an accident.
*/
SELECT
  cluster, user_name, source_ip, count(*) AS pods, count(DISTINCT namespace) AS namespaces,
  min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
-- Pods by hand; those of workloads are their controllers'.
WHERE resource = 'pods' AND api_group IS NULL AND subresource IS NULL AND verb = 'create'
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
GROUP BY cluster, user_name, source_ip
HAVING count(*) >= $pods
