/*
id: K8A-211
title: Many secrets deleted, or a collection of them
severity: medium
attack: [T1485, T1552.007]
controls: [SEC-1]
window: 10m
slide: 1m
params: {distinct_secrets: 10}
exempt: [control-plane, cloud, gitops, platform, credentials-readers]
needs: {level: Metadata, resources: [secrets], verbs: [delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} deleted {{secrets}} secrets by name and {{collections}} collections of secrets in {{namespaces}} namespaces, from {{source_ip}}"
false_positives: >-
  An environment taken down by hand or by Terraform. A trial by `kubectl delete --dry-run=server`
  looks the same, for what is asked for is not recorded of secrets.
respond: >-
  Ask the person. If it was not them, revoke the credential at once, then restore the secrets from
  backup: workloads fail when they start again without them. Who deletes a collection is told what
  was in it, even if it was tried only (dryRun in the request): rotate those secrets.
*/
SELECT
  cluster, user_name, source_ip, count(DISTINCT namespace || '/' || name) AS secrets,
  count(*) FILTER (WHERE verb = 'deletecollection') AS collections,
  count(DISTINCT namespace) AS namespaces, min(user_agent) AS user_agent,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('delete', 'deletecollection') AND response_code BETWEEN 200 AND 299
  -- A dry run of a collection counts: its answer holds all secrets of the namespace, and kubectl
  -- has no way to ask so.
  AND (verb = 'deletecollection' OR (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All'))
  -- The deletion of a namespace is the namespace controller's work.
  AND NOT is_system_user(user_name)
  -- Helm prunes its old releases, one with every upgrade.
  AND (name LIKE 'sh.helm.release.v1.%' IS NOT TRUE)
  -- Programs in pods tidy up what they made.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
-- kubectl deletes what it lists one by one; who empties a namespace with one request means it.
HAVING count(DISTINCT namespace || '/' || name) >= $distinct_secrets
  OR count(*) FILTER (WHERE verb = 'deletecollection') >= 1
