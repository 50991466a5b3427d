/*
id: K8A-204
title: Secrets of kube-system listed or watched
severity: low
attack: [T1552.007]
controls: [SEC-1]
key: [user_name, source_ip]
exempt: [control-plane, cloud, gitops, platform, credentials-readers, credentials-administration]
needs: {level: Metadata, resources: [secrets], verbs: [list, watch, deletecollection], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}}{{acting_as}} got all secrets of kube-system by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: Administrators at work on the cluster's own components.
respond: >-
  Ask the person. If it was not them, revoke the credential; tokens and certificates in kube-system
  open the whole cluster and often the cloud account.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, request_uri, credential_id,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND namespace = 'kube-system' AND verb IN ('list', 'watch', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  -- A dry run of deleting them all gives them all back.
  AND (verb <> 'deletecollection' OR url_param(request_uri, 'dryRun') = 'All')
  -- A watch is told when it starts; its completion tells of it again.
  AND NOT (verb = 'watch' AND stage = 'ResponseComplete')
  AND NOT is_system_user(user_name)
  -- Helm asks for its own releases, of which there are many in a day.
  AND regexp_like(coalesce(url_param(request_uri, 'labelSelector'), ''), '(^|,)owner=helm(,|$)')
    IS NOT TRUE
  -- Programs in pods read secrets all day. They have the token of their pod; a source that does
  -- not tell the pod (it tells no groups either) leaves the address to go by. A tool of the hand
  -- there is no such program.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
