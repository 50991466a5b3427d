/*
id: K8A-505
title: Workload mounts a sensitive path of its node
severity: medium
attack: [T1610, T1611, T1552.001]
controls: [WL-2, ETCD-1, API-6]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with {{host_paths}} of its node by {{verb}} from {{source_ip}}"
false_positives: >-
  Backups of etcd, security benchmarks, builds that use the container runtime's socket. Agents of
  the node (daemon sets) and programs with an account of their own are told by K8A-541 instead;
  exempt others by user and namespace together.
respond: >-
  The path gives credentials, the container runtime or the node itself away. Delete the workload
  unless its owner confirms it; if it ran, treat the node as taken and rotate what lay there
  (kubelet, etcd and service account credentials).
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(paths, '[\]\[",]+', ' ', 'g')) AS host_paths
FROM (
  SELECT *,
    -- All paths of the node that it mounts, of a whole object, a merge patch, or as values of a
    -- JSON patch; `//` and `/./` are `/` to the kubelet, too.
    regexp_replace(concat(json_query(request_object, '$..hostPath.path'),
      json_query(request_object, '$[?search(@.path, "/hostPath$")].value.path'),
      json_query(request_object, '$[?search(@.path, "/hostPath/path$")].value')),
      '/([.]?/)+', '/', 'g') AS paths
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
) AS written
WHERE regexp_like(paths,
  -- Whole trees of the node: of the system, of users, of the cluster, and what is in them.
  '"/(etc|dev|var|run|sys|usr|opt|lib|lib64|usr/lib|var/run|var/lib|var/log)?/?[.]?"'
  || '|"/(root|home|boot|proc|s?bin|usr/s?bin|usr/local/s?bin|opt/cni|sys/kernel|sys/fs/cgroup'
  || '|etc/(kubernetes|cni|cron[^/"]*|ssh|rancher|passwd|shadow|sudoers[^/"]*|systemd|pam[.]d)'
  || '|dev/(mem|kmem|disk|mapper|sd|vd|xvd|nvme)[^/"]*|var/spool/cron|(usr/)?lib/systemd'
  || '|var/log/(pods|containers|audit|kubernetes)'
  || '|var/lib/(kubelet|kubeadm|etcd|docker|containerd|containers|rancher|k0s|cloud)'
  || '|(var/)?run/(docker|containerd|crio|k3s|podman)|(var/)?run/[^/"]+[.]sock)(/[^"]*)?"')
  -- A privileged container that has the node's processes or its root folder as well has the node,
  -- as K8A-540 says.
  AND (json_exists(request_object, '$..[?@.securityContext.privileged == true]')
    AND (json_exists(request_object, '$..[?@.hostPID == true]')
      OR regexp_like(json_query(request_object, '$..hostPath.path'), '"[/.]+"'))) IS NOT TRUE
