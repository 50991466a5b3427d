/*
id: K8A-523
title: Identity deploys where it never did, or with another program
severity: low
attack: [T1078, T1610]
controls: [RBAC-6, MON-2]
first_seen: {key: [user_name, namespace, program], lookback: 30d, learn: 7d}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} by {{verb}} from {{source_ip}} with {{program}}, for the first time in {{namespace}}"
false_positives: >-
  A new colleague, a new namespace, another tool.
respond: >-
  Ask the person. If it was not them, revoke the credential and look at what else it wrote.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  -- Without its version: updates are no news.
  split_part(coalesce(user_agent, ''), '/', 1) AS program
FROM events
WHERE resource IN ('deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
