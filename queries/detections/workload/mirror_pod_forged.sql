/*
id: K8A-544
title: Pod disguised as the mirror of a static pod
severity: high
attack: [T1036.005, T1610]
controls: [API-6]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} created pod {{workload}} ({{images}}) as the mirror of a static pod, which only kubelets do, from {{source_ip}}"
false_positives: >-
  A restore of a backup that took mirror pods along.
respond: >-
  Admission and tools leave mirror pods alone, so it is a way past both. Delete the pod, look at
  the node that it names, and at what else the identity did.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$.spec.containers[*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource = 'pods'
  AND subresource IS NULL
  AND verb = 'create'
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.metadata.annotations["kubernetes.io/config.mirror"]')
