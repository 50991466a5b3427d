/*
id: K8A-551
title: Workload refused by policy
severity: informational
attack: [T1610]
controls: [WL-5, IMG-2]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane]
needs: {level: Metadata, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} was refused {{resource}} {{workload}} by {{verb}} from {{source_ip}}: {{why}}"
false_positives: >-
  Everybody's first try in a namespace with a policy.
respond: >-
  Nothing at once: the policy did its work. What is let in after that elsewhere is told by
  K8A-549.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  left(response_message, 300) AS why
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Authorized, and then refused by admission: by Pod Security, a webhook, or a policy.
  AND response_code IN (400, 403, 422) AND decision = 'allow'
  AND (response_message LIKE '%violates PodSecurity%'
    OR response_message LIKE '%admission webhook%denied the request%'
    OR response_message LIKE '%ValidatingAdmissionPolicy%denied request%')
