/*
id: K8A-512
title: Program placed on every node
severity: low
attack: [T1610, T1525, T1543.005]
key: [user_name]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs, workload-setup]
needs: {level: Request, resources: [daemonsets], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created daemon set {{workload}} ({{images}}), which runs on every node that it tolerates, from {{source_ip}}"
false_positives: >-
  The installation of an agent: network, storage, logs, metrics, security.
respond: >-
  Ask who wants a program on every node. If nobody does, delete it, and treat every node as one
  that it ran on.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource = 'daemonsets'
  AND subresource IS NULL
  AND verb = 'create'
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
