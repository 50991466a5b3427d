/*
id: K8A-549
title: Refused by the policy for pods, then let in elsewhere
severity: medium
attack: [T1610, T1611]
controls: [WL-5, WL-6]
window: 1h
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} was refused {{refusals}} workloads by policy, then placed {{first_workload}} with access to its node, from {{source_ip}}"
false_positives: >-
  An administrator who meant another namespace in the first place, such as one for agents.
respond: >-
  The policy has a hole: see which namespace or kind let it in, and why. Delete the workload
  unless its owner confirms it.
*/
SELECT
  cluster, user_name, min(source_ip) AS source_ip,
  count(*) FILTER (WHERE response_code >= 400) AS refusals,
  min(concat_ws('/', resource, namespace, coalesce(name, json_value(request_object,
    '$.metadata.generateName')))) FILTER (WHERE response_code < 300) AS first_workload
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- Authorized, and then refused by admission: by Pod Security, a webhook, or a policy.
    (response_code IN (400, 403, 422) AND decision = 'allow'
      AND (response_message LIKE '%violates PodSecurity%'
      OR response_message LIKE '%admission webhook%denied the request%'
      OR response_message LIKE '%ValidatingAdmissionPolicy%denied request%'))
    OR (response_code BETWEEN 200 AND 299
      AND (json_exists(request_object, '$..[?@.securityContext.privileged == true
          || @.hostPID == true || @.hostIPC == true || @.hostNetwork == true]')
        OR json_exists(request_object, '$..hostPath.path')
        OR json_exists(request_object,
          '$[?search(@.path, "/(privileged|hostPID|hostNetwork)$") && @.value == true]'))))
GROUP BY cluster, user_name
HAVING min(event_time) FILTER (WHERE response_code >= 400)
  < max(event_time) FILTER (WHERE response_code < 300)
