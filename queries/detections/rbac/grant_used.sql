/*
id: K8A-319
title: New powerful grant used at once
severity: medium
attack: [T1078, T1098.006]
controls: [RBAC-2, RBAC-5]
window: 30m
slide: 3m
dedup: 1d
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, least: Metadata, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} used {{binding}} ({{role}}) {{uses}} times from {{source_ip}}, minutes after {{granted_by}} made it from {{granted_from}}"
false_positives: >-
  A new administrator at work on the first day. Pods that use what their installation granted do not
  count, nor does a right within one namespace.
respond: >-
  Ask both, the one who granted and the one who used. If it was not meant, delete the binding, and
  undo what was done with it: its name is in the reason of each request that it allowed.
*/
-- A request says which binding allowed it: a use is exactly a use of that grant, not of rights that
-- its subject had before.
SELECT
  cluster, binding,
  min(user_name) FILTER (WHERE used) AS user_name, min(source_ip) FILTER (WHERE used) AS source_ip,
  min(credential_id) FILTER (WHERE used) AS credential_id,
  min(user_name) FILTER (WHERE made) AS granted_by, min(source_ip) FILTER (WHERE made) AS granted_from,
  min(role) FILTER (WHERE made) AS role,
  count(DISTINCT audit_id) FILTER (WHERE used) AS uses,
  count(DISTINCT audit_id) FILTER (WHERE used AND sensitive) AS sensitive_uses
FROM (
  SELECT *,
    CASE WHEN made AND resource = 'clusterrolebindings'
      THEN concat('ClusterRoleBinding "', shown, '"')
      WHEN made
      THEN concat('RoleBinding "', shown, '/', namespace, '"')
      ELSE concat(substr(split_part(
        split_part(decision_reason, '" of ClusterRole "', 1), '" of Role "', 1), 18), '"') END AS binding
  FROM (
    SELECT *,
      json_value(request_object, '$.roleRef.name') AS role,
      -- As the reason writes it: a name may hold quotes.
      replace(replace(coalesce(name, json_value(response_object, '$.metadata.name')),
        '\', '\\'), '"', '\"') AS shown,
      -- Made, by whatever verb: server-side apply makes with a patch, and says 201.
      (resource IN ('clusterrolebindings', 'rolebindings') AND api_group = 'rbac.authorization.k8s.io'
        AND verb IN ('create', 'update', 'patch') AND response_code = 201) AS made,
      -- Used by the one who was named, not as one of a group, which is how people get their work; not by
      -- what runs in a pod; and for something, not to find out what there is.
      (decision_reason LIKE 'RBAC: allowed by %' AND decision_reason NOT LIKE '%" to Group "%'
        AND pod_name IS NULL AND resource NOT IN
          ('selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews')
        AND (resource IN ('clusterrolebindings', 'rolebindings')
          AND response_code = 201) IS NOT TRUE) AS used,
      -- What an intruder wants rights for.
      (resource = 'secrets' OR subresource IN ('exec', 'attach', 'portforward', 'proxy', 'token',
          'ephemeralcontainers', 'approval')
        OR (verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
          AND api_group IN ('rbac.authorization.k8s.io', 'admissionregistration.k8s.io'))) AS sensitive
    FROM events
    WHERE decision = 'allow' AND response_code < 300
      AND (resource IN ('clusterrolebindings', 'rolebindings') OR decision_reason LIKE 'RBAC: allowed by %')
      AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  ) AS allowed
) AS requests
GROUP BY cluster, binding
-- Rights beyond one namespace, or on the cluster's core: as such, or by what they were used for.
HAVING min(event_time) FILTER (WHERE made AND (role = 'cluster-admin'
      OR ((resource = 'clusterrolebindings' OR namespace = 'kube-system') AND role IN ('admin', 'edit'))))
    < max(event_time) FILTER (WHERE used)
  OR min(event_time) FILTER (WHERE made AND (resource = 'clusterrolebindings' OR namespace =
  'kube-system'))
    < max(event_time) FILTER (WHERE used AND sensitive)
