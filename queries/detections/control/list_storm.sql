/*
id: K8A-629
title: One identity lists large kinds, or begins watches, over and over
severity: low
attack: [T1499, T1613]
controls: [API-4]
window: 5m
slide: 1m
params: {lists: 60, watches: 600}
needs: {level: Metadata, verbs: [list, watch], stages: [ResponseStarted, ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}} listed whole kinds {{lists}} times without a limit and began {{watches}} watches from {{source_ip}} with {{user_agent}}"
false_positives: A controller with a fault, or a script in a loop.
respond: >-
  Each such list is read from etcd as a whole: enough of them stop the API server. Find the program,
  limit it by API priority and fairness, or revoke the credential.
*/
SELECT
  cluster, user_name, source_ip,
  count(*) FILTER (WHERE verb = 'list') AS lists, count(*) FILTER (WHERE verb = 'watch') AS watches,
  min(user_agent) AS user_agent
FROM events
WHERE response_code BETWEEN 200 AND 299
  AND ((verb = 'list' AND stage = 'ResponseComplete' AND namespace IS NULL
      AND resource IN ('pods', 'secrets', 'configmaps', 'events', 'replicasets', 'endpointslices',
        'customresourcedefinitions', 'nodes', 'services', 'deployments', 'jobs')
      AND url_param(request_uri, 'limit') IS NULL
      AND url_param(request_uri, 'labelSelector') IS NULL
      -- From the API server's cache, as clients with caches of their own ask: cheap.
      AND url_param(request_uri, 'resourceVersion') IS NULL)
    OR (verb = 'watch' AND stage = 'ResponseStarted'))
GROUP BY cluster, user_name, source_ip
HAVING count(*) FILTER (WHERE verb = 'list') >= $lists
  OR count(*) FILTER (WHERE verb = 'watch') >= $watches
