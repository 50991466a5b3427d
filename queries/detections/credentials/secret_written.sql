/*
id: K8A-210
title: Secret written or deleted by a person, or with a token that no pod has
severity: informational
attack: [T1552.007, T1485]
controls: [SEC-1]
key: [user_name, namespace]
dedup: 6h
exempt: [control-plane, cloud, gitops, platform, credentials-readers, credentials-administration]
needs: {level: Metadata, resources: [secrets], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} changed {{what}} in {{namespace}} by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Daily work of people, and deployments from outside the cluster. It is a fact to be joined with
  others.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN name IS NULL THEN 'secrets' ELSE concat('secret ', name) END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  -- Helm keeps its releases in secrets, and reads and writes them with every use.
  AND (name LIKE 'sh.helm.release.v1.%' IS NOT TRUE)
  -- Programs in pods write secrets all day. They have the token of their pod; a source that does
  -- not tell the pod (it tells no groups either) leaves the address to go by. A tool of the hand
  -- there is no such program.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
