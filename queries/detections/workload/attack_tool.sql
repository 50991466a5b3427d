/*
id: K8A-518
title: Miner or attack tool deployed
severity: high
attack: [T1496.001, T1610, T1204.003]
controls: [HUNT-1]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} ({{shown}}) by {{verb}} from {{source_ip}}"
false_positives: >-
  A test of the defences that was agreed on; a program of the same name.
respond: >-
  Delete the workload. Find out how the identity came to write it: mining is mostly the visible
  end of a stolen credential or of an open dashboard.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(left(concat_ws(' ', trim(regexp_replace(images, '[\]\[",]+', ' ', 'g')), commands), 300))
    AS shown
FROM (
  SELECT *,
    -- The images of all its containers; of a JSON patch, its values.
    concat(json_query(request_object, '$..image'),
      json_query(request_object, '$[?search(@.path, "/image$")].value')) AS images,
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
  -- By the image or by what is run: words that honest programs do not have as a part of a name.
  regexp_like(lower(concat_ws(' ', images, commands)),
    '(^|[^a-z0-9])(xmrig|xmr-stak|xmr-node|minerd|cpuminer|ethminer|lolminer|nbminer|phoenixminer'
    || '|nanominer|cgminer|teamredminer|srbminer|wildrig|kinsing|kdevtmpfsi|peirates|deepce'
    || '|kdigger|kubesploit|kubeletctl|kube-hunter|botb|break-out-the-box|amicontained|linpeas'
    || '|cdk-team|msfconsole|msfvenom|metasploit|meterpreter|sliver-client|chisel|ligolo)'
    || '([^a-z]|$)')
  -- How miners are told where to deliver.
  OR regexp_like(lower(commands), 'stratum[12]?[+](tcp|ssl|udp|tls)://|--donate-level|--randomx'
    || '|--coin[= ](monero|xmr)|(minexmr|supportxmr|moneroocean|nanopool|c3pool|hashvault'
    || '|2miners|nicehash|xmrpool|f2pool|herominers|unmineable)[.]')
