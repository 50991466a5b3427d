/*
id: K8A-221
title: Client certificate requested under a name of the system
severity: high
attack: [T1098, T1649, T1036.010]
controls: [SA-2, API-3, RBAC-5]
key: [user_name, source_ip, name]
exempt: [cloud, credentials-administration]
needs: {level: Request, resources: [certificatesigningrequests], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} requested a client certificate as {{wanted}}, {{named}} ({{request}}), from {{source_ip}} ({{user_agent}}), answered {{response_code}}"
false_positives: >-
  A cluster put together by hand, whose administrator requests the certificates of its nodes and
  components. Nodes and what joins as one do not count.
respond: >-
  Ask the person. Do not approve it. If it was approved, the certificate cannot be revoked: whoever
  has it is that node, component or account until it expires. Remove the bindings of the name, or
  for groups and names that the API server itself trusts, replace the signing authority.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, credential_id, response_code, name,
  coalesce(name, concat(json_value(request_object, '$.metadata.generateName'), '*')) AS request,
  json_value(request_object, '$.spec.signerName') AS signer, common_name, organizations,
  CASE
    WHEN has_group(organizations, 'system:masters') THEN 'system:masters'
    WHEN has_group(organizations, 'kubeadm:cluster-admins') THEN 'an administrator of the cluster'
    WHEN has_group(organizations, 'system:nodes') OR common_name LIKE 'system:node:%' THEN 'a node'
    WHEN common_name LIKE 'system:serviceaccount:%'
      OR organizations LIKE '%"system:serviceaccounts%' THEN 'a service account'
    WHEN common_name LIKE 'system:kube-%' THEN 'a component of the control plane'
    ELSE 'a name of the system' END AS wanted,
  -- Who asks chooses how long these are.
  left(concat_ws(' of ', common_name, organizations), 200) AS named
FROM (
  SELECT *,
    csr_common_name(json_value(request_object, '$.spec.request')) AS common_name,
    csr_organizations(json_value(request_object, '$.spec.request')) AS organizations
  FROM events
  WHERE resource = 'certificatesigningrequests' AND api_group = 'certificates.k8s.io'
    AND subresource IS NULL AND verb = 'create'
    -- Refused requests count: the API server refuses system:masters, after authorization. Those of
    -- who may not request at all have no body.
    AND stage = 'ResponseComplete'
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
    -- Signers whose certificates the API server takes for a name.
    AND json_value(request_object, '$.spec.signerName') IN ('kubernetes.io/kube-apiserver-client',
      'kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/legacy-unknown')
    -- Nodes that renew, and nodes that join (system:bootstrap:ID), do so under their own names.
    AND NOT is_system_user(user_name)
) AS requested
WHERE common_name LIKE 'system:%' OR organizations LIKE '%"system:%'
  OR has_group(organizations, 'kubeadm:cluster-admins')
