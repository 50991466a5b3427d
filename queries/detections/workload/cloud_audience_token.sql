/*
id: K8A-531
title: Workload takes a token for a cloud on its own
severity: low
attack: [T1528, T1550.001]
controls: [CLD-1]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with a token for {{audiences}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Workload identity that is written into the workload instead of being injected by the cloud's
  webhook.
respond: >-
  Whoever runs in the pod is, for the cloud, whom the token names. Look at which role trusts the
  account, and ask whether it is meant.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(audience, '[\]\[",]+', ' ', 'g')) AS audiences
FROM (
  SELECT *,
    concat(json_query(request_object, '$..serviceAccountToken.audience'),
      json_query(request_object, '$[?search(@.path, "/audience$")].value')) AS audience
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- The injected ones are added after the request was logged, and do not show here.
WHERE regexp_like(audience,
  'sts[.][a-z0-9.-]*amazonaws[.]com|AzureADTokenExchange|iam[.]googleapis[.]com|[.]svc[.]id[.]goog'
  || '|sts[.]aliyuncs[.]com')
