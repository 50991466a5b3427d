/*
id: K8A-542
title: Workload made to speak to etcd
severity: medium
attack: [T1610, T1552.007]
controls: [ETCD-1]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) that runs `{{command}}` beside the cluster's etcd by {{verb}} from {{source_ip}}"
false_positives: >-
  Backups of etcd. An etcd of an application's own has neither the node's network nor its paths,
  and does not count.
respond: >-
  etcd holds every secret, and knows no roles. Delete the workload unless its owner confirms it;
  if it ran, take all secrets of the cluster for known.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  left(commands, 300) AS command
FROM (
  SELECT *,
    -- What its containers, probes and hooks run, as one line; of a JSON patch, its values.
    trim(regexp_replace(translate(regexp_replace(concat(
      json_query(request_object, '$..["command", "args"]'),
      json_query(request_object, '$[?search(@.path, "/(command|args)(/[^/]*)?$")].value')),
      '\\[nt"]', ' ', 'g'), '[]",\', '     '), ' +', ' ', 'g')) AS commands
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
WHERE regexp_like(commands, '(^|[ ;|&/(])etcd(ctl|utl)( |$)')
  -- How the cluster's own is reached: over the node's network, or with its certificates or data.
  AND (json_exists(request_object, '$..[?@.hostNetwork == true]')
    OR json_exists(request_object, '$..[?search(@.hostPath.path, "/etcd|/kubernetes/pki")]'))
