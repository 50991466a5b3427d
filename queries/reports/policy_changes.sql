/*
name: policy-changes
title: Webhooks, admission and network policies, quotas that were changed
describe: >-
  One row per write of what guards the cluster: webhook configurations, admission policies, policies
  of Gatekeeper and Kyverno, network policies, quotas, pod security labels of namespaces, in the
  order of time.
params: {user: null, namespace: null, limit: 10000}
needs: {level: Request, resources: [validatingwebhookconfigurations, mutatingwebhookconfigurations, validatingadmissionpolicies, networkpolicies, resourcequotas, limitranges, namespaces], verbs: [create, update, patch, delete, deletecollection]}
controls: [WL-5, WL-6, WL-8, NET-1]
*/
SELECT
  event_time, cluster, user_name, impersonated_user, source_ip, verb, api_group, resource,
  namespace, coalesce(name, json_value(request_object, '$.metadata.name')) AS name,
  left(coalesce(
    nullif(json_query(request_object, '$.webhooks[*]["name", "failurePolicy"]'), '[]'),
    nullif(json_query(request_object, '$.metadata.labels'), '[]'),
    nullif(json_query(request_object, '$.spec'), '[]'), request_object), 1000) AS change,
  response_code, audit_id
FROM events
WHERE event_time >= $since AND event_time < $until
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND stage IN ('ResponseComplete', 'Panic') AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All') AND subresource IS NULL
  AND (api_group IN ('admissionregistration.k8s.io', 'templates.gatekeeper.sh',
      'constraints.gatekeeper.sh', 'kyverno.io', 'policies.kyverno.io')
    OR resource IN ('networkpolicies', 'globalnetworkpolicies', 'ciliumnetworkpolicies',
      'ciliumclusterwidenetworkpolicies', 'clusternetworkpolicies', 'adminnetworkpolicies',
      'resourcequotas', 'limitranges')
    OR (resource = 'namespaces' AND api_group IS NULL
      AND (verb = 'delete' OR json_exists(request_object, '$.metadata.labels')
        OR json_exists(request_object, '$[?search(@.path, "^/metadata/labels")]'))))
  AND NOT is_system_user(user_name)
  AND ($user IS NULL OR user_name = $user)
  AND ($namespace IS NULL OR namespace = $namespace)
ORDER BY event_time, event_id
LIMIT $limit
