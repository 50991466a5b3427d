/*
id: K8A-508
title: Container without the confinement of the kernel
severity: low
attack: [T1610, T1611]
controls: [WL-4]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) with seccomp, AppArmor, SELinux or the masks of /proc switched off by {{verb}} from {{source_ip}}"
false_positives: >-
  Builds of images inside containers, browsers with a sandbox of their own, debuggers. Agents of
  the node (daemon sets) are told by K8A-541 instead.
respond: >-
  Ask for a profile of its own, or the runtime's default one. It is no way out of the container by
  itself, but opens those that the profiles close.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
    'jobs', 'cronjobs', 'podtemplates')
  -- No daemon sets: agents of the node are told by K8A-541, for information.
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- Of the pod or of a container; SELinux's type for containers that are to see everything.
    json_exists(request_object, '$..[?@.seccompProfile.type == "Unconfined"
      || @.appArmorProfile.type == "Unconfined" || @.procMount == "Unmasked"
      || @.seLinuxOptions.type == "spc_t"]')
    -- By annotation, as before those fields were there.
    OR json_exists(request_object, '$..annotations[?@ == "unconfined"]')
    -- A JSON patch that reaches into it.
    OR json_exists(request_object, '$[?
      (search(@.path, "/(seccompProfile|appArmorProfile)$") && @.value.type == "Unconfined")
      || (search(@.path, "/(seccompProfile|appArmorProfile)/type$") && @.value == "Unconfined")
      || (search(@.path, "/procMount$") && @.value == "Unmasked")
      || (search(@.path, "/seLinuxOptions/type$") && @.value == "spc_t")
      || (search(@.path, "/annotations/container[.]") && @.value == "unconfined")]'))
