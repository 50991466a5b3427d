/*
id: K8A-501
title: Privileged container deployed
severity: medium
attack: [T1610, T1611]
controls: [WL-1]
key: [user_name, resource, workload]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed a privileged container by {{verb}} of {{resource}} {{workload}} ({{images}}) from {{source_ip}}"
false_positives: >-
  Network, storage and monitoring agents that need the node; exempt them by user, namespace and
  image together.
respond: >-
  Whoever controls a privileged container controls its node. Delete the workload unless its owner
  confirms it; if it ran, treat the node and every credential on it as known to the attacker.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object, '$..[?@.securityContext.privileged == true].image'),
    ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission (Pod Security) may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The person is on the write of the owner. What controllers make of it, and the mirror pods of
  -- nodes, would say the same again. Name and user agent together, for the name alone is within
  -- reach of everybody who may create tokens in kube-system.
  AND NOT is_system_user(user_name)
  AND (user_name LIKE 'system:serviceaccount:kube-system:%'
    AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE
  AND (
    -- Any kind of container, wherever the object or the patch keeps its pod.
    json_exists(request_object, '$..[?@.securityContext.privileged == true]')
    -- A JSON patch that reaches into a container.
    OR json_exists(request_object, '$[?
      (search(@.path, "/securityContext$") && @.value.privileged == true)
      || (search(@.path, "/securityContext/privileged$") && @.value == true)]'))
