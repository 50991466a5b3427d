/*
id: K8A-515
title: Workload with the account of one of the cluster's controllers
severity: high
attack: [T1610, T1078.001, T1098.006]
controls: [RBAC-1, SA-1]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{resource}} {{workload}} ({{images}}) the account {{account}} of a controller by {{verb}} from {{source_ip}}"
false_positives: >-
  None is known: controllers run inside kube-controller-manager, no pod ever needs their accounts.
respond: >-
  These accounts may read every secret or write any role. Delete the workload, take its token for
  stolen (delete and let the account be made anew), and look at what that account did since.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  trim(regexp_replace(accounts, '[\]\[",]+', ' ', 'g')) AS account
FROM (
  SELECT *,
    concat(json_query(request_object, '$..["serviceAccountName", "serviceAccount"]'),
      json_query(request_object, '$[?search(@.path, "/serviceAccount(Name)?$")].value')) AS accounts
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    AND namespace = 'kube-system'
) AS written
WHERE regexp_like(accounts,
  '"(attachdetach-controller|bootstrap-signer|certificate-controller|'
  || 'clusterrole-aggregation-controller|cronjob-controller|daemon-set-controller|'
  || 'deployment-controller|disruption-controller|endpoint-controller|'
  || 'endpointslice-controller|endpointslicemirroring-controller|'
  || 'ephemeral-volume-controller|expand-controller|generic-garbage-collector|'
  || 'horizontal-pod-autoscaler|job-controller|legacy-service-account-token-cleaner|'
  || 'namespace-controller|node-controller|persistent-volume-binder|'
  || 'pod-garbage-collector|pv-protection-controller|pvc-protection-controller|'
  || 'replicaset-controller|replication-controller|resource-claim-controller|'
  || 'resourcequota-controller|root-ca-cert-publisher|service-account-controller|'
  || 'statefulset-controller|taint-eviction-controller|token-cleaner|'
  || 'ttl-after-finished-controller|ttl-controller|'
  || 'validatingadmissionpolicy-status-controller)"')
