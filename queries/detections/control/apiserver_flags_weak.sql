/*
id: K8A-640
title: API server started with weak flags
severity: high
attack: [T1685, T1556]
controls: [API-1, API-3, API-5, WL-6]
key: [name]
needs: {level: Request, resources: [pods], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} reported from {{source_ip}} that API server {{namespace}}/{{name}} was started with {{flags}}"
false_positives: A cluster that was always so, which is a fact to be mended.
respond: >-
  Look at the manifest on that machine (/etc/kubernetes/manifests/kube-apiserver.yaml): who changed
  it was on the machine, or let a pod write there. Put it back, and treat the machine as lost.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, namespace, coalesce(name, '?') AS name,
  coalesce(nullif(translate(json_query(request_object, '$.spec.containers[*]["command", "args"][?
    search(@, "^--authorization-mode=.*AlwaysAllow|^--enable-admission-plugins=.*AlwaysAdmit")
    || search(@, "^--disable-admission-plugins=.*(NodeRestriction|PodSecurity|Validating|Mutat)")
    || search(@, "^--(token-auth-file|basic-auth-file)=|^--insecure-port=[1-9]")]'), '[]"', ''),
    ''),
    'no --audit-policy-file') AS flags
FROM events
-- The kubelet tells of what it runs from a file by a mirror pod.
WHERE resource = 'pods' AND api_group IS NULL AND subresource IS NULL AND verb = 'create'
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND namespace = 'kube-system' AND user_name LIKE 'system:node:%'
  AND json_exists(request_object, '$.spec.containers[*]["command", "args"][?
    search(@, "^(/usr/local/bin/)?kube-apiserver$")]')
  AND (json_exists(request_object, '$.spec.containers[*]["command", "args"][?
      search(@, "^--authorization-mode=.*AlwaysAllow|^--enable-admission-plugins=.*AlwaysAdmit")
      || search(@, "^--disable-admission-plugins=.*(NodeRestriction|PodSecurity|Validating|Mutat)")
      || search(@, "^--(token-auth-file|basic-auth-file)=|^--insecure-port=[1-9]")]')
    -- Audited until now, as this event shows.
    OR json_exists(request_object, '$.spec.containers[*]["command", "args"][?
      search(@, "^--audit-policy-file=")]') IS NOT TRUE)
