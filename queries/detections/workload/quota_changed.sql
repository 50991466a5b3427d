/*
id: K8A-536
title: Quota or limit of a namespace changed or removed
severity: low
attack: [T1685, T1496.001]
controls: [WL-8]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [resourcequotas, limitranges], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} did {{verb}} {{resource}} {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  A team that was granted more room, or an environment that is taken down.
respond: >-
  Ask whether it was meant. Without a quota one namespace may use up the cluster, which mining
  does.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace, name
FROM events
-- Made anew is tighter; changed is not told apart, for the policy does not record what to.
WHERE resource IN ('resourcequotas', 'limitranges') AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
