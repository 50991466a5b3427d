/*
id: K8A-509
title: Workload opens a port of its nodes
severity: informational
attack: [T1610, T1133]
controls: [WL-2, NET-2]
key: [user_name, resource, workload]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} opened the ports {{ports}} of nodes for {{resource}} {{workload}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Ingress controllers, DNS caches of nodes, and metrics of agents.
respond: >-
  See that the port is not reachable from where it should not be: it passes by services and,
  mostly, by network policies. A service or an ingress does the same within their rules.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(concat(json_query(request_object, '$..hostPort'),
    json_query(request_object, '$[?search(@.path, "/hostPort$")].value')), ',[]', ' ') AS ports
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_exists(request_object, '$..[?@.hostPort > 0]')
    -- A JSON patch of one port's number.
    OR json_exists(request_object, '$[?search(@.path, "/hostPort$") && @.value > 0]'))
