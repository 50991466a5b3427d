/*
id: K8A-201
title: Secrets of a namespace read by a person, or with a token that no pod has
severity: informational
attack: [T1552.007]
controls: [SEC-1]
key: [user_name, namespace]
dedup: 6h
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [get, list, watch, update, patch, deletecollection], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}}{{acting_as}} read {{what}} in {{namespace}} by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Daily work of people, and deployments from outside the cluster. It is a fact to be joined with
  others.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN name IS NULL THEN 'all secrets' ELSE concat('secret ', name) END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('get', 'list', 'watch', 'update', 'patch', 'deletecollection')
  AND namespace IS NOT NULL AND response_code BETWEEN 200 AND 299
  -- What reads: a dry run of a change gives the whole secret back, of deleting a collection all.
  AND (verb IN ('get', 'list', 'watch') OR url_param(request_uri, 'dryRun') = 'All')
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  AND NOT is_system_user(user_name)
  -- Helm asks for its own releases, of which there are many in a day.
  AND regexp_like(coalesce(url_param(request_uri, 'labelSelector'), ''), '(^|,)owner=helm(,|$)')
    IS NOT TRUE
  AND (name LIKE 'sh.helm.release.v1.%' IS NOT TRUE)
  -- Programs in pods read secrets all day. They have the token of their pod; a source that does
  -- not tell the pod (it tells no groups either) leaves the address to go by. A tool of the hand
  -- there is no such program.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
