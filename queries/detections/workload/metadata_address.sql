/*
id: K8A-539
title: Workload made to ask the cloud's metadata service
severity: medium
attack: [T1552.005, T1610]
controls: [NET-4, CLD-1]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) that runs `{{command}}` by {{verb}} from {{source_ip}}"
false_positives: >-
  Scripts that ask in which region or zone they run. Agents of the node (daemon sets) do not
  count.
respond: >-
  The service gives the credentials of the node to whoever asks from it. Look at what the command
  asks for; revoke the node's sessions in the cloud if it was credentials, and close the way by
  network policy.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  left(commands, 300) AS command
FROM (
  SELECT *,
    -- What its containers, probes and hooks run, as one line; of a JSON patch, its values.
    trim(regexp_replace(translate(regexp_replace(concat(
      json_query(request_object, '$..["command", "args"]'),
      json_query(request_object, '$[?search(@.path, "/(command|args)(/[^/]*)?$")].value')),
      '\\[nt"]', ' ', 'g'), '[]",\', '     '), ' +', ' ', 'g')) AS commands
  FROM events
  WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
      'jobs', 'cronjobs', 'podtemplates')
    -- No daemon sets: agents of the node are told by K8A-541, for information.
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- By address, also in its other notations, or by name, and a client in the same command; a proxy's
-- exception names the address as well.
WHERE regexp_like(lower(commands),
    '169[.]254[.]169[.]254|fd00:ec2::254|metadata[.]google[.]internal'
    || '|100[.]100[.]100[.]200|169[.]254[.]170[.]2|0xa9fea9fe|2852039166|169[.]254[.]42[.]42')
  AND regexp_like(commands, '(^|[ ;|&/($])(curl|wget|https?|python[0-9.]*|perl|ruby|nc|aws|gcloud)'
    || '([ ;|&]|$)|https?://|/dev/tcp')
