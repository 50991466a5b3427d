/*
id: K8A-510
title: Pod placed among the cluster's own
severity: medium
attack: [T1610, T1036.005]
controls: [API-6]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created {{resource}} {{workload}} ({{images}}) in {{namespace}} from {{source_ip}}"
false_positives: >-
  An administrator who debugs the network or DNS from a pod in kube-system. Add-ons come as
  deployments or daemon sets and are told by K8A-543.
respond: >-
  A pod there looks as if it belonged, may use the accounts of the control plane, and is often
  exempt from policies. Ask the person; unless it is confirmed delete it, and see which service
  account and volumes it had.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'replicasets', 'replicationcontrollers', 'podtemplates', 'deployments',
    'daemonsets', 'statefulsets', 'jobs', 'cronjobs')
  AND subresource IS NULL
  AND verb IN ('create')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- What is disguised as a static pod is told by K8A-544.
  AND json_exists(request_object, '$.metadata.annotations["kubernetes.io/config.mirror"]')
    IS NOT TRUE
  AND (
    -- Add-ons are never made of bare pods or of what only controllers write.
    (namespace = 'kube-system'
      AND resource IN ('pods', 'replicasets', 'replicationcontrollers', 'podtemplates'))
    -- Nothing at all runs in these two.
    OR namespace IN ('kube-public', 'kube-node-lease'))
