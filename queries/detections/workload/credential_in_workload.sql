/*
id: K8A-553
title: Credential written into a workload in clear
severity: low
attack: [T1552.001]
controls: [SEC-1]
key: [user_name, resource, workload]
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} with what looks like {{kind_of}} in it by {{verb}} from {{source_ip}}"
false_positives: >-
  Examples that were never valid, and certificates' keys that protect nothing.
respond: >-
  Everybody who may read the workload, its history or the audit log has it: revoke it, and give
  the workload a secret instead.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  CASE WHEN regexp_like(request_object, '-----BEGIN [A-Z ]*PRIVATE KEY') THEN 'a private key'
    WHEN regexp_like(request_object, 'A(KI|SI)A[0-9A-Z]{16}') THEN 'an access key of AWS'
    WHEN regexp_like(request_object, 'gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20}')
      THEN 'a token of a code host'
    ELSE 'a token' END AS kind_of
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- By forms that nothing else has; names such as PASSWORD hold references as often as values.
  AND regexp_like(request_object, '-----BEGIN [A-Z ]*PRIVATE KEY'
    || '|(^|[^A-Za-z0-9])A(KI|SI)A[0-9A-Z]{16}([^A-Za-z0-9]|$)|gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20}|xox[bp]-[0-9]{10,}-'
    || '|eyJhbGciOi[A-Za-z0-9_-]+[.]eyJ[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+|AIza[0-9A-Za-z_-]{35}')
