/*
id: K8A-533
title: Persistent volume that is a sensitive path of nodes
severity: medium
attack: [T1610, T1611]
controls: [WL-2]
key: [user_name, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [persistentvolumes], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} made persistent volume {{workload}} of {{host_paths}} on the node by {{verb}} from {{source_ip}}"
false_positives: >-
  Small clusters whose data lie in a folder of the node, if the folder is one of the system's.
respond: >-
  A pod that claims the volume has the path, although no policy for pods sees it. Delete the
  volume unless its owner confirms it, and look for pods that claimed it.
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
    regexp_replace(concat(json_query(request_object, '$..["hostPath", "local"].path'),
      json_query(request_object, '$[?search(@.path, "/(hostPath|local)$")].value.path'),
      json_query(request_object, '$[?search(@.path, "/(hostPath|local)/path$")].value')),
      '/([.]?/)+', '/', 'g') AS paths
  FROM events
  WHERE resource = 'persistentvolumes'
    AND subresource IS NULL
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
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
