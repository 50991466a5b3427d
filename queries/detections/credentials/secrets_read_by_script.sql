/*
id: K8A-207
title: Secret read by a scripting tool
severity: medium
attack: [T1552.007]
controls: [SEC-1]
key: [user_name, source_ip]
exempt: [cloud]
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch, update, patch, deletecollection], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}}{{acting_as}} read {{what}} by {{verb}} with {{user_agent}} from {{source_ip}}"
false_positives: >-
  Scripts of administrators, and in containers that have no Kubernetes client; exempt them by user
  and address together.
respond: >-
  Find who or what runs at the address. A service account's token used so is mostly one taken out of
  a container: revoke it by deleting its pod, and rotate what it read.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name, pod_name,
  credential_id,
  CASE WHEN name IS NOT NULL THEN concat('secret ', namespace, '/', name)
    WHEN namespace IS NOT NULL THEN concat('all secrets of ', namespace)
    ELSE 'all secrets of the cluster' END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('get', 'list', 'watch', 'update', 'patch', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  -- What reads: a dry run of a change gives the whole secret back, of deleting a collection all.
  AND (verb IN ('get', 'list', 'watch') OR url_param(request_uri, 'dryRun') = 'All')
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  -- What is named here was chosen by the client: who chooses another name is seen by where, what
  -- and how much it reads.
  AND regexp_like(user_agent,
    '^(curl|[Ww]get|python-requests|[Pp]ython-urllib|python-httpx|aiohttp|HTTPie|PostmanRuntime'
      || '|libwww-perl|Mozilla)')
  -- Anonymous requests are K8A-103, those of nodes K8A-209, and all secrets of the cluster K8A-203
  -- (but for those a selector picks, which may be left out there).
  AND user_name <> 'system:anonymous' AND user_name NOT LIKE 'system:node:%'
  AND has_group(user_groups, 'system:unauthenticated') IS NOT TRUE
  AND (namespace IS NULL AND verb IN ('list', 'watch') AND NOT is_system_user(user_name)
    AND url_param(request_uri, 'labelSelector') IS NULL) IS NOT TRUE
  -- A container's script that reads the one secret it was given, by name, in its own namespace.
  AND (verb = 'get' AND impersonated_user IS NULL AND pod_name IS NOT NULL
    AND user_name LIKE 'system:serviceaccount:%'
    AND namespace = split_part(user_name, ':', 3)) IS NOT TRUE
