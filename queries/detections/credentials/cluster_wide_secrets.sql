/*
id: K8A-203
title: Secrets of the whole cluster listed or watched
severity: high
attack: [T1552.007]
controls: [SEC-1]
key: [user_name, source_ip]
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [list, watch], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}}{{acting_as}} got the secrets of all namespaces by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Administrators who look at all secrets, backup tools and scripts. Operators that cache all secrets
  do not count as long as they run in a pod with its own token and list as caches do; exempt the
  others by user and user agent together.
respond: >-
  Ask the person, or the owner of the service account. If it was not them, revoke the credential and
  rotate every secret of the cluster, service account tokens first.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, impersonated_user, credential_id, request_uri,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL AND namespace IS NULL
  AND verb IN ('list', 'watch') AND response_code BETWEEN 200 AND 299
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  -- Nodes are bounded by their authorizer and have a detection of their own.
  AND NOT is_system_user(user_name)
  -- Without credentials it is K8A-103.
  AND (user_name = 'system:anonymous' OR has_group(user_groups, 'system:unauthenticated'))
    IS NOT TRUE
  -- `helm list -A` asks for Helm's releases of all namespaces, and gets nothing else.
  AND regexp_like(coalesce(url_param(request_uri, 'labelSelector'), ''), '(^|,)owner=helm(,|$)')
    IS NOT TRUE
  -- The caches of operators: a pod's own token, and a request as informers make them (from a
  -- resource version on, or a watch that begins with all objects). A source that does not tell the
  -- pod (it tells no groups either) leaves the address to go by. A tool of the hand is no cache,
  -- whatever it asks for; a thief who takes care of both is for first-seen detections to find.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
