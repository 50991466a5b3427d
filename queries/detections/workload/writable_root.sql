/*
id: K8A-555
title: Container whose root file system can be written
severity: informational
enabled: false
attack: [T1610]
controls: [WL-3, WL-9]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}) with a root file system that can be written, by {{verb}} from {{source_ip}}"
false_positives: >-
  Most images, for they are made so; a policy that sets the field when a pod is admitted. Off unless
  you demand it.
respond: >-
  Nothing at once. Set readOnlyRootFilesystem, and mount volumes where the program writes: what
  breaks in finds no place for its tools.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object, '$..["initContainers", "containers"][*].image'),
    ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Windows has no such setting.
  AND (json_value(pod_spec(request_object), '$.os.name') = 'windows') IS NOT TRUE
  AND (
    -- A whole object that does not say it; a patch says only what changes.
    ((verb IN ('create', 'update') OR json_exists(request_object, '$.kind'))
      AND json_exists(request_object, '$..["initContainers", "containers"]
        [?@.image && @.securityContext.readOnlyRootFilesystem != true]'))
    OR json_exists(request_object, '$[?search(@.path, "/(initContainers|containers)/[^/]*$")
      && @.value.image && @.value.securityContext.readOnlyRootFilesystem != true]')
    -- A patch that takes it away.
    OR json_exists(request_object, '$..[?@.readOnlyRootFilesystem == false]')
    OR json_exists(request_object, '$[?search(@.path, "/readOnlyRootFilesystem$")
      && (@.op == "remove" || @.value == false)]'))
