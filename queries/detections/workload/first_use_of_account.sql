/*
id: K8A-550
title: Identity gives its workloads an account that it never gave them
severity: low
attack: [T1078.001, T1610]
controls: [SA-1, RBAC-4]
first_seen: {key: [user_name, namespace, account], lookback: 30d, learn: 7d}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{resource}} {{workload}} ({{images}}) the account {{account}} of {{namespace}} by {{verb}} from {{source_ip}}, for the first time"
false_positives: >-
  A new program of the same team.
respond: >-
  See what the account may do (auditmill rbac, kubectl auth can-i --list --as): whoever may write
  pods in a namespace is all of its accounts. Ask the person if the account belongs to another
  program.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images,
  account
FROM (
  SELECT *, coalesce(
    json_value(request_object, '$..["serviceAccountName", "serviceAccount"]'),
    json_value(request_object, '$[?search(@.path, "/serviceAccount(Name)?$")].value')) AS account
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND subresource IS NULL
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- The default one is what is given without a word.
WHERE account <> 'default'
