/*
id: K8A-557
title: Workload without the sandbox that its namespace demands
severity: medium
enabled: false
attack: [T1610, T1611]
controls: [WL-7]
key: [user_name, resource, workload]
params: {namespaces: '', runtime_classes: ''}
exempt: [control-plane]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} with the runtime class {{runtime_class}}, which {{namespace}} does not allow, by {{verb}} from {{source_ip}}"
false_positives: >-
  A policy that sets the runtime class when a pod is admitted, which the request does not show.
respond: >-
  Ask its owner, and let admission refuse it from now on. Until then the workload shares the kernel
  of its node: move what must not run beside it away.
*/
-- Both parameters are regular expressions of whole names: `namespaces` of those that demand a
-- sandbox, `runtime_classes` of those that give one, such as `gvisor|kata-.*`.
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  coalesce(runtime_class, '(none)') AS runtime_class
FROM (
  SELECT *,
    -- Of a whole object or a merge patch, or the value of a JSON patch.
    coalesce(json_value(request_object, '$..runtimeClassName'),
      json_value(request_object, '$[?search(@.path, "/runtimeClassName$")].value'))
      AS runtime_class
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND subresource IS NULL
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    -- A whole object says what it runs in, or nothing of it; a patch only if it changes.
    AND (((verb IN ('create', 'update') OR json_exists(request_object, '$.kind'))
        AND json_exists(pod_spec(request_object), '$.containers[0]'))
      OR json_exists(request_object, '$..runtimeClassName')
      OR json_exists(request_object, '$[?search(@.path, "/runtimeClassName$")]'))
) AS written
WHERE regexp_like(namespace, concat('^(', $namespaces, ')$'))
  AND regexp_like(runtime_class, concat('^(', $runtime_classes, ')$')) IS NOT TRUE
