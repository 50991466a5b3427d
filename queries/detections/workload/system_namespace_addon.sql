/*
id: K8A-543
title: Add-on installed or changed in kube-system
severity: informational
attack: [T1610]
controls: [API-6]
key: [user_name, resource, workload]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, least: Metadata, resources: [deployments, daemonsets, statefulsets, jobs, cronjobs], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Every installation and upgrade of an add-on.
respond: >-
  Nothing at once: it is what else to look at when there is a finding of the same identity.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload
FROM events
WHERE resource IN ('deployments', 'daemonsets', 'statefulsets', 'jobs', 'cronjobs')
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND namespace = 'kube-system'
