/*
id: K8A-534
title: Container that downloads a program and runs it
severity: low
attack: [T1059.004, T1105]
controls: [WL-9]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) that runs `{{command}}` by {{verb}} from {{source_ip}}"
false_positives: >-
  Installation by the maker's script, as many manuals advise, in jobs and init containers.
respond: >-
  Ask for an image that holds the program: what is run here is decided by whoever holds the
  address. Look at where it leads to.
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
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- In containers, init containers, probes and hooks alike.
WHERE regexp_like(commands,
  '(curl|wget) [^|;]*[|] *(sudo +)?(env +)?([^ ;|&]*/)?((ba|z|da|k|a)?sh|python[0-9.]*|perl)'
  || '( |$|;|-)|(curl|wget) .*(;|&&) *chmod +[^ ]*[x7]'
  || '|sh (-[a-z]+ )?[^;]*([$]|<)[(] *(curl|wget) |`(curl|wget) ')
