/*
id: K8A-203
title: Secrets of the whole cluster listed or watched
severity: high
attack: [T1552.007]
controls: [SEC-1]
key: [user_name, source_ip]
needs: {level: Metadata, resources: [secrets], verbs: [list, watch], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}}{{acting_as}} got the secrets of all namespaces by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Backup tools and administrators' scripts. Operators that cache all secrets do not count as long as
  they run in a pod with its own token and list as caches do; exempt the others by user and user
  agent together.
respond: >-
  Ask the person, or the owner of the service account. If it was not them, revoke the credential and
  rotate every secret of the cluster, service account tokens first.
*/
SELECT
  cluster, user_name, source_ip, user_agent, verb, impersonated_user, credential_id, request_uri,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL AND namespace IS NULL
  AND verb IN ('list', 'watch') AND response_code BETWEEN 200 AND 299
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  AND NOT is_system_user(user_name)
  -- The controller manager's own accounts: name and user agent together, for the name alone is
  -- within reach of everybody who may create tokens in kube-system.
  AND (user_name LIKE 'system:serviceaccount:kube-system:%'
    AND user_agent LIKE 'kube-controller-manager/%') IS NOT TRUE
  -- The caches of operators: a pod's own token, and a request as informers make them (from a
  -- resource version on, or a watch that begins with all objects). A thief of that token who takes
  -- the same care is for first-seen detections to find.
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
