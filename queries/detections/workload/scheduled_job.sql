/*
id: K8A-513
title: Recurring or single job written by hand
severity: informational
attack: [T1053.007]
key: [user_name, resource, namespace]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, least: Metadata, resources: [jobs, cronjobs], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}) by {{verb}} from {{source_ip}}"
false_positives: >-
  Every migration, backup or report that somebody schedules or starts.
respond: >-
  Nothing at once: a cron job is how an attacker comes back, so look here when there is a finding
  of the same identity. What its command does is told by K8A-519 and K8A-534.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('jobs', 'cronjobs')
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
