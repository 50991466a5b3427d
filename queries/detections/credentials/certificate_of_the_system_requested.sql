/*
id: K8A-221
title: Client certificate requested under a name of the system
severity: high
attack: [T1098, T1649, T1036.010]
controls: [SA-2, API-3, RBAC-5]
key: [user_name, source_ip, name]
exempt: [cloud, credentials-administration]
needs: {level: Request, resources: [certificatesigningrequests], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} requested a client certificate as {{wanted}} ({{request}}) from {{source_ip}} ({{user_agent}}), answered {{response_code}}"
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
  json_value(request_object, '$.spec.signerName') AS signer,
  CASE
    WHEN regexp_like(body,
      '63336c7a644756744f6d31686333526c636e'
        || '|4e356333526c6254707459584e305a584a7a'
        || '|7a65584e305a5730366257467a6447567963') THEN 'system:masters'
    WHEN regexp_like(body,
      '63336c7a644756744f6d35765a47'
        || '|4e356333526c625470756232526c'
        || '|7a65584e305a573036626d396b5a') THEN 'a node'
    WHEN regexp_like(body,
      '63336c7a644756744f6e4e6c636e5a705932566859324e76645735304f'
        || '|4e356333526c6254707a5a584a3261574e6c59574e6a623356756444'
        || '|7a65584e305a57303663325679646d6c6a5a57466a59323931626e5136') THEN 'a service account'
    WHEN regexp_like(body,
      '63336c7a644756744f6d7431596d5574'
        || '|4e356333526c6254707264574a6c4c'
        || '|7a65584e305a573036613356695a53') THEN 'a component of the control plane'
    ELSE 'system:...' END AS wanted
FROM (
  -- The request in hexadecimal digits: base64 of a PEM text, which is lines of base64. Line ends
  -- and blanks are taken out, in an order in which none of them is found across two characters. As
  -- digits, for what is around the PEM text need not be text. What is no base64 is NULL.
  SELECT *,
    replace(replace(replace(replace(encode(decode(
        CASE WHEN resource = 'certificatesigningrequests'
            AND regexp_like(json_value(request_object, '$.spec.request'),
              '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$')
          THEN json_value(request_object, '$.spec.request') END,
        'base64'), 'hex'), '0a', ''), '0d', ''), '09', ''), '20', '') AS body
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
    AND NOT is_system_user(user_name))
-- The digits of `system:` in base64, at each of its three places in a group of four, in UTF-8 and
-- in UTF-16 (BMPString).
WHERE regexp_like(body,
  '63336c7a644756744f'
    || '|4e356333526c6254'
    || '|7a65584e305a573036'
    || '|41484d416551427a414851415a5142744144'
    || '|427a41486b41637742304147554162514136'
    || '|416377423541484d416441426c414730414f')
