/*
id: K8A-220
title: Client certificate requested by a person or a program
severity: low
attack: [T1098, T1649]
controls: [SA-2, API-3]
key: [user_name, source_ip]
exempt: [cloud, credentials-administration]
needs: {level: Request, resources: [certificatesigningrequests], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} requested a client certificate for {{wanted}} ({{request}}, signer {{signer}}) from {{source_ip}} ({{user_agent}})"
false_positives: >-
  A person who is given access by certificate; programs that log in to the cluster by one. Nodes and
  what joins as one do not count.
respond: >-
  Ask the person. Do not approve the request, or if it was: a certificate cannot be revoked, so
  remove all bindings of the name and the groups that it holds.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, credential_id,
  -- A generated name is not told.
  coalesce(name, concat(json_value(request_object, '$.metadata.generateName'), '*')) AS request,
  json_value(request_object, '$.spec.signerName') AS signer,
  csr_common_name(json_value(request_object, '$.spec.request')) AS common_name,
  csr_organizations(json_value(request_object, '$.spec.request')) AS organizations,
  -- Who asks chooses how long it is.
  coalesce(left(csr_common_name(json_value(request_object, '$.spec.request')), 200), 'nobody')
    AS wanted,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'certificatesigningrequests' AND api_group = 'certificates.k8s.io'
  AND subresource IS NULL AND verb = 'create'
  -- Done: a request of system:masters is refused after authorization, a dry run makes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Signers whose certificates the API server takes for a name.
  AND json_value(request_object, '$.spec.signerName') IN ('kubernetes.io/kube-apiserver-client',
    'kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/legacy-unknown')
  -- Nodes that renew, and nodes that join (system:bootstrap:ID).
  AND NOT is_system_user(user_name)
