/*
id: K8A-102
title: The cluster was changed without credentials
severity: critical
attack: [T1078.001, T1190]
controls: [API-1]
key: [source_ip]
exempt: [identity-anonymous]
needs: {level: Metadata, verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "anonymous {{verb}} of {{resource}} {{object}} from {{source_ip}} ({{user_agent}}) was done, answered {{response_code}}"
false_positives: >-
  Nothing that is meant: a webhook that others call without credentials belongs to a server of its
  own. OpenShift's build webhooks do not count.
respond: >-
  Delete the binding of system:anonymous or system:unauthenticated that authorization_reason names.
  Undo what was written, then treat what it could have run or read as known to the caller.
*/
SELECT
  cluster, source_ip, user_agent, verb, resource, subresource, namespace, name, response_code,
  concat_ws('/', namespace, name) AS object, decision_reason AS authorization_reason
FROM events
WHERE (user_name = 'system:anonymous' OR has_group(user_groups, 'system:unauthenticated'))
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  AND resource IS NOT NULL
  -- Done, not just allowed: what conflicted, was not there or was only tried out changed nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Questions that are put by creating an object which nobody keeps.
  AND (api_group IN ('authorization.k8s.io', 'authentication.k8s.io')) IS NOT TRUE
  -- Sessions are another detection's.
  AND (subresource IN ('exec', 'attach', 'portforward', 'proxy')) IS NOT TRUE
