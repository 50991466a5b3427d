/*
id: K8A-630
title: API called that a release removes
severity: informational
attack: [T1190]
controls: [UPD-1]
key: [user_name, api_group, api_version, resource]
dedup: 24h
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} calls {{api}} ({{verb}} from {{source_ip}}, {{user_agent}}), which Kubernetes {{removed_in}} no longer has"
false_positives: None; it is a fact about a client that will break.
respond: Update the client, or what it applies, before the cluster.
*/
SELECT
  cluster, user_name, source_ip, user_agent, verb, api_group, api_version, resource,
  concat_ws('/', api_group, api_version, resource) AS api,
  annotation(annotations, 'k8s.io/removed-release') AS removed_in
FROM events
WHERE stage = 'ResponseComplete' AND response_code BETWEEN 200 AND 299
  AND annotations LIKE '%"k8s.io/removed-release"%'
  -- The cluster's own components are updated with it.
  AND NOT is_system_user(user_name)
