/*
id: K8A-532
title: Pods made by a kind that nobody writes by hand
severity: low
attack: [T1610, T1036]
controls: [WL-5]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [replicationcontrollers, replicasets, podtemplates], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created {{resource}} {{workload}} ({{images}}) from {{source_ip}}"
false_positives: >-
  Manifests from before deployments were there.
respond: >-
  Policies and reviews are mostly written for deployments and pods, and this passes them by. Ask
  for a deployment, and look at what it runs.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('replicationcontrollers', 'replicasets', 'podtemplates')
  AND subresource IS NULL
  AND verb = 'create'
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
