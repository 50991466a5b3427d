/*
id: K8A-519
title: Workload that runs a reverse shell or hidden code
severity: high
attack: [T1059.004, T1610, T1140]
controls: [WL-9]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{images}}) that runs `{{command}}` by {{verb}} from {{source_ip}}"
false_positives: >-
  A test of the defences; a job of a build that decodes a script of its own and runs it.
respond: >-
  Delete the workload unless its owner explains the command. If it ran, the far end had a shell
  with the pod's account, secrets and network: rotate them, and look for where the command leads
  to in the logs of the network.
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
WHERE
  -- A shell at the end of a connection: bash's own, netcat's, socat's, of scripting languages.
  regexp_like(commands, '/dev/(tcp|udp)/[^ ]+/[0-9$]'
    || '|(^|[ ;|&/(])(nc|ncat|netcat|nc[.][a-z]+) ([^;|&]* )?(-[a-z]*[ec]|--(sh-)?exec) [^ ]*sh'
    || '|mkfifo .*[ ;|&/](nc|ncat|netcat|telnet|s_client) |socat .*(exec|EXEC|system|SYSTEM):'
    || '|socket[.]socket.*(dup2|pty[.]spawn|subprocess)|-MIO::Socket|(TCPSocket|fsockopen).*exec')
  -- Code that is hidden from who reads the command.
  OR regexp_like(commands, 'base64 +(-d|-D|--decode|-di)[^|;]*[|] *(sudo +)?'
    || '(([^ ;|&]*/)?(ba|z|da|k|a)?sh|python[0-9.]*|perl)( |$|;)'
    || '|(b64decode|decode64).*(exec|eval)|(exec|eval).*(b64decode|decode64)')
  -- What a bare address gives, run without a look.
  OR regexp_like(commands, '(curl|wget) [^|;]*(//| )[0-9]{1,3}([.][0-9]{1,3}){3}[^|;]*'
    || '([|] *(sudo +)?([^ ;|&]*/)?(ba|z|da|k|a)?sh( |$|;)|(;|&&).*chmod +[^ ]*[x7])')
