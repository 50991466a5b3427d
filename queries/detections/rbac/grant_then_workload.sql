/*
id: K8A-320
title: Service account made powerful, then put to work by the same identity
severity: medium
attack: [T1610, T1098.006]
controls: [RBAC-2, SA-1]
window: 10m
slide: 1m
dedup: 1d
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings, pods, deployments, daemonsets, statefulsets, replicasets, jobs, cronjobs], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{role}} to service account {{account}} and then ran it by {{workload}} from {{source_ip}}"
false_positives: >-
  The installation of a platform component that runs as cluster-admin, such as a delivery tool.
respond: >-
  Whoever gets into the workload, or chose its image, has the account's rights. Unless its owner
  confirms it delete the workload and the binding, and see what the account did.
*/
-- The account is the link: a chart brings roles and workloads too, but its roles are its own. Of a
-- binding with several accounts the first counts.
SELECT
  cluster, user_name, account,
  min(role) AS role, min(source_ip) AS source_ip, min(credential_id) AS credential_id,
  split_part(account, ':', 1) AS namespace, min(workload) AS workload,
  count(*) FILTER (WHERE workload IS NOT NULL) AS workloads
FROM (
  SELECT *,
    CASE WHEN api_group = 'rbac.authorization.k8s.io'
      THEN concat(json_value(request_object, '$.subjects[?@.kind == "ServiceAccount"].namespace'), ':',
        json_value(request_object, '$.subjects[?@.kind == "ServiceAccount"].name'))
      ELSE concat(namespace, ':', coalesce(json_value(pod_spec(request_object), '$.serviceAccountName'),
        json_value(pod_spec(request_object), '$.serviceAccount'))) END AS account,
    CASE WHEN api_group = 'rbac.authorization.k8s.io'
      THEN json_value(request_object, '$.roleRef.name') END AS role,
    CASE WHEN api_group = 'rbac.authorization.k8s.io' THEN NULL
      ELSE concat(resource, ' ', namespace, '/', name) END AS workload
  FROM events
  WHERE verb IN ('create', 'update', 'patch') AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    AND subresource IS NULL
    AND ((resource IN ('clusterrolebindings', 'rolebindings') AND api_group = 'rbac.authorization.k8s.io'
        AND (json_value(request_object, '$.roleRef.name') = 'cluster-admin'
          OR (resource = 'clusterrolebindings'
            AND json_value(request_object, '$.roleRef.name') IN ('admin', 'edit'))))
      OR resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets',
        'replicasets', 'jobs', 'cronjobs'))
) AS writes
WHERE account LIKE '_%:_%'
GROUP BY cluster, user_name, account
HAVING min(event_time) FILTER (WHERE role IS NOT NULL) < max(event_time) FILTER (WHERE workload IS NOT NULL)
