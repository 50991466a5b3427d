/*
name: token-lineage
title: Tokens from who asked for them to who used them
describe: >-
  One row per token that was issued (annotation issued-credential-id), with the pod and node that
  use it as its credential-id, from how many addresses. Rows without `issued_at` are credentials
  that were used and not seen being issued.
params: {user: null, credential: null, pod: null, limit: 1000}
needs: {level: Metadata, resources: [serviceaccounts/token], verbs: [create], stages: [ResponseComplete]}
controls: [SA-2, MON-4, API-3]
*/
WITH issued AS (
  SELECT
    cluster, annotation(annotations, 'authentication.kubernetes.io/issued-credential-id') AS id,
    min(event_time) AS issued_at, max(user_name) AS issued_to,
    max(concat('system:serviceaccount:', namespace, ':', name)) AS account,
    max(source_ip) AS issued_from,
    max(json_value(request_object, '$.spec.boundObjectRef.name')) AS bound_to,
    max(json_value(request_object, '$.spec.expirationSeconds')) AS expiration_seconds
  FROM events
  WHERE event_time >= $since AND event_time < $until AND resource = 'serviceaccounts'
    AND subresource = 'token' AND verb = 'create' AND response_code BETWEEN 200 AND 299
  GROUP BY 1, 2
), used AS (
  SELECT
    cluster, credential_id AS id, max(user_name) AS user_name, max(pod_name) AS pod,
    max(node_name) AS node, count(*) AS uses, count(DISTINCT source_ip) AS sources,
    max(source_ip) AS source_ip, count(DISTINCT user_agent) AS user_agents,
    min(event_time) AS first_use, max(event_time) AS last_use
  FROM events
  WHERE event_time >= $since AND event_time < $until AND credential_id IS NOT NULL
  GROUP BY 1, 2
)
SELECT
  coalesce(used.cluster, issued.cluster) AS cluster, coalesce(used.id, issued.id) AS credential_id,
  issued_at, issued_to, issued_from, coalesce(account, user_name) AS identity, bound_to,
  expiration_seconds, pod, node, uses, sources, source_ip, user_agents, first_use, last_use
FROM used FULL JOIN issued ON used.cluster = issued.cluster AND used.id = issued.id
WHERE ($user IS NULL OR coalesce(account, user_name) = $user OR issued_to = $user)
  AND ($credential IS NULL OR coalesce(used.id, issued.id) = $credential)
  AND ($pod IS NULL OR pod = $pod OR bound_to = $pod)
ORDER BY coalesce(issued_at, first_use) DESC, credential_id
LIMIT $limit
