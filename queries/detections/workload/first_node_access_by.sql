/*
id: K8A-547
title: Identity deploys access to nodes for the first time
severity: low
attack: [T1078, T1611]
controls: [WL-1, WL-2, MON-2]
first_seen: {key: [user_name], lookback: 30d, learn: 7d}
exempt: [control-plane, cloud, gitops, platform]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}) with access to its node by {{verb}} from {{source_ip}}, which it never did before"
false_positives: >-
  A new operator, CI runner or administrator.
respond: >-
  Ask the person, or the owner of the service account: a stolen account of a program that usually
  makes harmless pods shows here. If it was not them, delete the workload and revoke the
  credential.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_exists(request_object, '$..[?@.securityContext.privileged == true
      || @.hostPID == true]')
    OR json_exists(request_object,
      '$[?search(@.path, "/(privileged|hostPID)$") && @.value == true]')
    OR json_exists(request_object, '$..[?search(@.hostPath.path,
      "[.]sock$|^[/.]*(/(etc|var|proc|root|(var/)?run|var/lib(/kubelet)?|etc/kubernetes))?/?$")]'))
