/*
id: K8A-804
title: Service account made, given all rights, and its token taken away
severity: high
attack: [T1136, T1098.006, T1528]
controls: [MON-3, SA-2, RBAC-2]
window: 30m
slide: 3m
dedup: 1d
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [serviceaccounts, serviceaccounts/token, clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} made service account {{account}}, gave it {{role}} and took a token of it from {{source_ip}}"
false_positives: >-
  Guides for dashboards end like this: an account admin-user, bound to cluster-admin, with a token to
  log in with. It is as dangerous as it looks.
respond: >-
  Delete the account, which ends its tokens, and the binding. Then see what the account did: its token
  works from anywhere, and outlives the credential of whoever made it.
*/
-- The account is the link: made, bound and asked for a token by one identity. Of a binding with several
-- accounts the first counts.
SELECT
  cluster, user_name, account,
  min(source_ip) AS source_ip, min(credential_id) AS credential_id, min(role) AS role,
  split_part(account, '/', 1) AS namespace, split_part(account, '/', 2) AS name
FROM (
  SELECT *,
    CASE WHEN resource = 'serviceaccounts' THEN concat(namespace, '/', name)
      ELSE concat(json_value(request_object, '$.subjects[?@.kind == "ServiceAccount"].namespace'), '/',
        json_value(request_object, '$.subjects[?@.kind == "ServiceAccount"].name')) END AS account,
    CASE WHEN resource <> 'serviceaccounts' THEN json_value(request_object, '$.roleRef.name') END AS role
  FROM events
  WHERE verb IN ('create', 'update', 'patch') AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    AND ((resource = 'serviceaccounts' AND subresource IS NULL AND response_code = 201)
      OR (resource = 'serviceaccounts' AND subresource = 'token')
      OR (resource = 'clusterrolebindings' AND api_group = 'rbac.authorization.k8s.io'
        AND json_value(request_object, '$.roleRef.name') IN ('cluster-admin', 'admin', 'edit'))
      OR (resource = 'rolebindings' AND api_group = 'rbac.authorization.k8s.io'
        AND json_value(request_object, '$.roleRef.name') = 'cluster-admin'))
) AS writes
WHERE account LIKE '_%/_%'
GROUP BY cluster, user_name, account
HAVING min(event_time) FILTER (WHERE resource = 'serviceaccounts' AND subresource IS NULL)
    < max(event_time) FILTER (WHERE role IS NOT NULL)
  AND min(event_time) FILTER (WHERE resource = 'serviceaccounts' AND subresource IS NULL)
    < max(event_time) FILTER (WHERE subresource = 'token')
