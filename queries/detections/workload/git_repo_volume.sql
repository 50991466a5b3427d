/*
id: K8A-552
title: Workload with a volume of a git repository
severity: medium
attack: [T1610, T1611]
controls: [WL-2]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with a volume of the git repository {{repositories}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Manifests of many years ago: the kind of volume is deprecated since 2018.
respond: >-
  The kubelet fetches it as root on the node, and a crafted repository runs its hooks there
  (CVE-2024-10220). Delete the workload unless its owner confirms it, and look at the repository;
  use an init container instead.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(repos, '[\]\[",]+', ' ', 'g')) AS repositories
FROM (
  SELECT *,
    concat(json_query(request_object, '$..gitRepo.repository'),
      json_query(request_object, '$[?search(@.path, "/gitRepo$")].value.repository'),
      json_query(request_object, '$[?search(@.path, "/gitRepo/repository$")].value')) AS repos
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
WHERE repos LIKE '%"%'
