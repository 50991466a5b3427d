/*
id: K8A-501
title: Privileged container deployed
severity: medium
attack: [T1610, T1611]
controls: [WL-1]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed a privileged container by {{verb}} of {{resource}} {{workload}} ({{images}}) from {{source_ip}}"
false_positives: >-
  Builds of images inside containers, tuning of kernel settings by an init container, debugging of
  a node. Agents of the node (daemon sets) and programs with an account of their own are told by
  K8A-541 instead; exempt others by user and namespace together.
respond: >-
  Whoever controls a privileged container controls its node. Delete the workload unless its owner
  confirms it; if it ran, treat the node and every credential on it as known to the attacker.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..[?@.securityContext.privileged == true].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
    'jobs', 'cronjobs', 'podtemplates')
  -- No daemon sets: agents of the node are told by K8A-541, for information.
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- What debuggers of nodes mount all of the node for is told by K8A-423.
  AND (resource = 'pods' AND verb = 'create'
    AND (coalesce(name, json_value(request_object, '$.metadata.generateName'))
        LIKE 'node-debugger-%'
      OR json_exists(request_object,
        '$.metadata.annotations["debug.openshift.io/source-resource"]'))
    AND json_exists(request_object,
      '$.spec.volumes[?match(@.hostPath.path, "/+(\\.?/*)*")]')) IS NOT TRUE
  AND (
    -- Any kind of container, wherever the object or the patch keeps its pod. A Windows host process
    -- is the same with another name. Many databases set one number of the kernel's and are gone
    -- (vm.max_map_count): that, spelled out, is left to K8A-541.
    json_exists(request_object, '$..[?(@.securityContext.privileged == true
        && !(@.command[0] == "sysctl" && @.command[1] == "-w" && !@.command[3] && !@.args
          && match(@.command[2], "(vm|net|fs)[.][a-z0-9_.]+=[0-9]+")))
      || @.securityContext.windowsOptions.hostProcess == true]')
    -- A JSON patch that reaches into a container.
    OR json_exists(request_object, '$[?
      (search(@.path, "/securityContext$") && (@.value.privileged == true
        || @.value.windowsOptions.hostProcess == true))
      || (search(@.path, "/(privileged|hostProcess)$") && @.value == true)
      || (search(@.path, "/windowsOptions$") && @.value.hostProcess == true)]'))
