/*
id: K8A-223
title: Client certificate requested and approved by one identity
severity: high
attack: [T1098, T1649]
controls: [SA-2, API-3]
window: 10m
slide: 1m
dedup: 24h
exempt: [control-plane, cloud]
needs: {level: Request, resources: [certificatesigningrequests, certificatesigningrequests/approval], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} requested client certificate {{name}} for {{wanted}} and approved it, from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who makes a certificate for a new person, in one go; scripts of clusters put
  together by hand.
respond: >-
  Ask the person. A certificate cannot be revoked and outlives their account:
  remove the bindings of its name, and rotate the signing authority if it is in a group such as
  system:masters.
*/
SELECT
  cluster, user_name, name, min(source_ip) AS source_ip, min(user_agent) AS user_agent,
  min(json_value(request_object, '$.spec.signerName')) AS signer,
  min(csr_organizations(json_value(request_object, '$.spec.request'))) AS organizations,
  -- Who asks chooses how long it is.
  coalesce(left(min(csr_common_name(json_value(request_object, '$.spec.request'))), 200), 'nobody')
    AS wanted
FROM events
WHERE resource = 'certificatesigningrequests' AND api_group = 'certificates.k8s.io'
  AND name IS NOT NULL AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  AND ((subresource IS NULL AND verb = 'create'
      -- Signers whose certificates the API server takes for a name.
      AND json_value(request_object, '$.spec.signerName') IN ('kubernetes.io/kube-apiserver-client',
    'kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/legacy-unknown'))
    -- Denying comes the same way.
    OR (subresource = 'approval' AND verb IN ('update', 'patch')
      AND json_exists(request_object, '$..[?@.type == "Approved" && @.status != "False"]')))
GROUP BY cluster, user_name, name
HAVING min(event_time) FILTER (WHERE verb = 'create')
  < max(event_time) FILTER (WHERE subresource = 'approval')
