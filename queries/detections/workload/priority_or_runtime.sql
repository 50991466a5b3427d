/*
id: K8A-535
title: Priority or runtime of pods changed for the cluster
severity: low
attack: [T1499, T1610]
controls: [WL-7]
key: [user_name, resource]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [priorityclasses, runtimeclasses], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} did {{verb}} {{resource}} {{name}}, which decides {{meaning}}, from {{source_ip}}"
false_positives: >-
  The installation of a sandbox or of GPU drivers; a scheme of priorities.
respond: >-
  A priority drives other workloads out, a runtime class that is changed or gone lets pods run
  without their sandbox. Compare with what was meant.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, name,
  CASE resource WHEN 'priorityclasses' THEN 'whose pods drive others out'
    ELSE 'what pods run in' END AS meaning
FROM events
WHERE resource IN ('priorityclasses', 'runtimeclasses')
  AND api_group IN ('scheduling.k8s.io', 'node.k8s.io')
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
