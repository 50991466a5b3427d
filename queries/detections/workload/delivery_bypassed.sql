/*
id: K8A-522
title: Workload of the delivery changed by hand
severity: low
attack: [T1525, T1610]
controls: [WL-9]
window: 7d
slide: 12h
dedup: 30d
exempt: [control-plane]
needs: {level: Request, resources: [deployments, daemonsets, statefulsets, cronjobs], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{people}} changed image or command of {{resource}} {{namespace}}/{{name}} by hand {{changes}} times, which a delivery tool had written before"
false_positives: >-
  A repair at night that is to be merged later.
respond: >-
  Compare what runs with what the repository says: the tool will put it back, or was told not to.
  Ask for the change to be merged or undone.
*/
SELECT
  cluster, resource, namespace, name,
  min(user_name) FILTER (WHERE NOT delivered) AS people,
  min(user_name) FILTER (WHERE delivered) AS delivery,
  min(source_ip) FILTER (WHERE NOT delivered) AS source_ip,
  count(*) FILTER (WHERE NOT delivered) AS changes
FROM (
  SELECT *,
    -- Delivery tools, by their usual accounts; a service account of another name is neither.
    regexp_like(user_name, '^system:serviceaccount:(flux-system|argo[a-z-]*|cattle-fleet[a-z-]*'
      || '|config-management-system|openshift-gitops):') AS delivered
  FROM events
  WHERE resource IN ('deployments', 'daemonsets', 'statefulsets', 'cronjobs')
    AND subresource IS NULL AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    -- What decides what runs; a restart or a change of scale does not.
    AND (json_exists(request_object, '$..["image", "command", "args"]')
      OR json_exists(request_object, '$[?search(@.path, "/(image|command|args)(/[^/]*)?$")]'))
) AS written
WHERE delivered OR (user_name LIKE 'system:serviceaccount:%') IS NOT TRUE
GROUP BY cluster, resource, namespace, name
HAVING min(event_time) FILTER (WHERE delivered) < max(event_time) FILTER (WHERE NOT delivered)
