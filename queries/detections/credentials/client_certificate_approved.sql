/*
id: K8A-222
title: Client certificate approved by hand
severity: medium
attack: [T1098, T1649]
controls: [SA-2, API-3]
key: [user_name, name]
exempt: [control-plane, cloud, credentials-administration]
needs: {level: Request, resources: [certificatesigningrequests/approval], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} approved certificate request {{name}} of {{requester}} for {{wanted}} (signer {{signer}}) from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who gives access by certificate, or lets a node join by hand. Serving
  certificates of kubelets do not count.
respond: >-
  See for whom it is (where it is not told: `kubectl get csr NAME -o jsonpath={.spec.request} |
  base64 -d | openssl req -noout -subject`) and ask the person. A certificate cannot be revoked:
  remove the bindings of its name.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, name, credential_id,
  coalesce(json_value(request_object, '$.spec.username'), 'somebody') AS requester,
  coalesce(json_value(request_object, '$.spec.signerName'), 'not told') AS signer,
  csr_organizations(json_value(request_object, '$.spec.request')) AS organizations,
  -- Who asks chooses how long it is; a patch does not tell it.
  coalesce(left(csr_common_name(json_value(request_object, '$.spec.request')), 200),
    'somebody who is not told') AS wanted,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'certificatesigningrequests' AND subresource = 'approval'
  AND api_group = 'certificates.k8s.io' AND verb IN ('update', 'patch')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  -- Denying comes the same way. A JSON patch has the condition as a value, or in a list.
  AND json_exists(request_object, '$..[?@.type == "Approved" && @.status != "False"]')
  -- Signers whose certificates the API server takes for a name. kubectl writes the whole request; a
  -- patch does not tell the signer.
  AND (json_value(request_object, '$.spec.signerName') IS NULL
    OR json_value(request_object, '$.spec.signerName') IN ('kubernetes.io/kube-apiserver-client',
    'kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/legacy-unknown'))
