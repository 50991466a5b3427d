/*
id: K8A-318
title: Grant made and taken back within minutes
severity: medium
attack: [T1070, T1098.006]
controls: [RBAC-2, RBAC-3]
window: 30m
slide: 3m
dedup: 1d
exempt: [control-plane, cloud, gitops, rbac-writers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch, delete], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} deleted {{binding}} ({{role}} to {{subjects}}) from {{source_ip}} minutes after {{granted_by}} made it; it was used {{uses}} times{{used_by}}"
false_positives: >-
  Rights lent for one task by a tool that does just that, or a binding that was tried and found
  wrong. The hooks of charts, whose roles live for seconds, are used by their pods and do not count.
respond: >-
  Nobody sees such a grant in the cluster afterwards: see what was done with it meanwhile (its name is
  in the reason of each request that it allowed), and ask who made it and who
  took it away.
*/
-- A request says which binding allowed it, so that a grant's uses can be counted beside its life.
SELECT
  cluster, binding,
  min(user_name) FILTER (WHERE deleted) AS user_name, min(source_ip) FILTER (WHERE deleted) AS source_ip,
  min(credential_id) FILTER (WHERE deleted) AS credential_id,
  min(user_name) FILTER (WHERE made) AS granted_by,
  min(role) FILTER (WHERE made) AS role, min(subjects) FILTER (WHERE made) AS subjects,
  min(resource) FILTER (WHERE made) AS resource, min(namespace) FILTER (WHERE made) AS namespace,
  min(name) FILTER (WHERE made) AS name,
  count(DISTINCT audit_id) FILTER (WHERE used) AS uses,
  CASE WHEN min(user_name) FILTER (WHERE used) IS NULL THEN ''
    ELSE concat(', by ', min(user_name) FILTER (WHERE used)) END AS used_by
FROM (
  SELECT *,
    CASE WHEN (made OR deleted) AND resource = 'clusterrolebindings'
      THEN concat('ClusterRoleBinding "', shown, '"')
      WHEN made OR deleted
      THEN concat('RoleBinding "', shown, '/', namespace, '"')
      ELSE concat(substr(split_part(
        split_part(decision_reason, '" of ClusterRole "', 1), '" of Role "', 1), 18), '"')
    END AS binding
  FROM (
    SELECT *,
      json_value(request_object, '$.roleRef.name') AS role,
      translate(
        json_query(request_object, '$.subjects[*]["kind", "namespace", "name"]'), ',[]"', ' ') AS subjects,
      -- As the reason writes it: a name may hold quotes.
      replace(replace(coalesce(name, json_value(response_object, '$.metadata.name')),
        '\', '\\'), '"', '\"') AS shown,
      -- Made, by whatever verb: server-side apply makes with a patch, and says 201.
      (resource IN ('clusterrolebindings', 'rolebindings') AND api_group = 'rbac.authorization.k8s.io'
        AND verb IN ('create', 'update', 'patch') AND response_code = 201) AS made,
      (resource IN ('clusterrolebindings', 'rolebindings') AND api_group = 'rbac.authorization.k8s.io'
        AND verb = 'delete' AND response_code = 200) AS deleted,
      -- Used by somebody, not by what runs in a pod; and for something, not to find out what there is.
      (decision_reason LIKE 'RBAC: allowed by %' AND pod_name IS NULL AND resource NOT IN
        ('clusterrolebindings', 'rolebindings', 'selfsubjectaccessreviews', 'selfsubjectrulesreviews',
          'selfsubjectreviews')) AS used
    FROM events
    WHERE decision = 'allow' AND response_code < 300
      AND (resource IN ('clusterrolebindings', 'rolebindings') OR decision_reason LIKE 'RBAC: allowed by %')
      AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  ) AS allowed
) AS requests
GROUP BY cluster, binding
-- A grant that is powerful by itself, or one that somebody used.
HAVING min(event_time) FILTER (WHERE made AND (role = 'cluster-admin'
      OR (resource = 'clusterrolebindings' AND role IN ('admin', 'edit'))))
    < max(event_time) FILTER (WHERE deleted)
  OR (min(event_time) FILTER (WHERE made) < max(event_time) FILTER (WHERE deleted)
    AND min(event_time) FILTER (WHERE used) < max(event_time) FILTER (WHERE deleted))
