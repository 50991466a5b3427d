/*
id: K8A-556
title: Container without a limit of its resources
severity: informational
enabled: false
attack: [T1496.001, T1499]
controls: [WL-8]
key: [user_name, namespace]
dedup: 1d
params: {demanded: memory}
exempt: [control-plane]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}) without a limit of {{missing}} by {{verb}} from {{source_ip}}"
false_positives: >-
  A LimitRange of the namespace that gives limits when a pod is admitted, which the request does not
  show. Off unless you demand limits in what is written.
respond: >-
  Nothing at once. Set limits in the workload, or a LimitRange in the namespace: without them one
  container may use up its node.
*/
-- `demanded` is a regular expression: `memory|cpu` demands both. Many do without a limit of
-- processors on purpose.
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object, '$..containers[*].image'), ',[]"', ' ') AS images,
  missing
FROM (
  SELECT *,
    -- A container without one, in a pod that has none for all of its containers.
    concat_ws(' and ',
      CASE WHEN json_exists(pod_spec(request_object),
            '$.containers[?@.image && !@.resources.limits.memory]')
          AND NOT json_exists(pod_spec(request_object), '$.resources.limits.memory')
          OR json_exists(request_object, '$[?search(@.path, "/containers/[^/]*$")
            && @.value.image && !@.value.resources.limits.memory]')
        THEN 'memory' END,
      CASE WHEN json_exists(pod_spec(request_object),
            '$.containers[?@.image && !@.resources.limits.cpu]')
          AND NOT json_exists(pod_spec(request_object), '$.resources.limits.cpu')
          OR json_exists(request_object, '$[?search(@.path, "/containers/[^/]*$")
            && @.value.image && !@.value.resources.limits.cpu]')
        THEN 'cpu' END) AS missing
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND subresource IS NULL
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    -- A whole object, or a container that a JSON patch adds: other patches say only what changes.
    AND (verb IN ('create', 'update') OR json_exists(request_object, '$.kind')
      OR json_exists(request_object, '$[?search(@.path, "/containers/[^/]*$")]'))
) AS written
WHERE regexp_like(missing, $demanded)
