/*
id: K8A-521
title: Container added to a running workload by patch
severity: low
attack: [T1610, T1525]
controls: [WL-9]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [deployments, daemonsets, statefulsets, replicasets, replicationcontrollers], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} added {{images}} to {{resource}} {{workload}} by patch from {{source_ip}}"
false_positives: >-
  A quick experiment with a sidecar; scripts that inject agents.
respond: >-
  Look at what the container does: it shares the volumes, the account and the network of the
  others. Compare with what the repository says, and roll back.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object, '$[*].value..image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers')
  AND subresource IS NULL
  AND verb IN ('update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- A JSON patch says where something is added. Of a merge patch nobody can tell: it names the
  -- containers that are there in the same way.
  AND json_exists(request_object, '$[?@.op == "add" && @.value.image
    && search(@.path, "/([cC]ontainers|initContainers)/(-|[0-9]+)$")]')
