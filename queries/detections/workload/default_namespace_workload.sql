/*
id: K8A-511
title: Workload in the namespace default
severity: informational
attack: [T1610]
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created {{resource}} {{workload}} in the namespace default from {{source_ip}}"
false_positives: >-
  Trials, and small clusters that know no other namespace.
respond: >-
  Nothing at once. The namespace default has seldom quotas, network policies or an owner: give the
  workload a namespace of its own.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND subresource IS NULL
  AND verb IN ('create')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND namespace = 'default'
