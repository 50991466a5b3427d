/*
id: K8A-212
title: Service account token minted
severity: low
attack: [T1528, T1098]
controls: [SA-2]
key: [user_name, namespace, name]
dedup: 6h
exempt: [control-plane, cloud, gitops, platform, credentials-issuers]
needs: {level: Metadata, resources: [serviceaccounts/token], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} minted a token of service account {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Logging in to a dashboard, trying out a service account's rights, pipelines outside the cluster.
respond: >-
  Ask the person. A token cannot be revoked before it expires, but for deleting the service account;
  issued_credential names the requests made with it (credential_id).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  annotation(annotations, 'authentication.kubernetes.io/issued-credential-id')
    AS issued_credential,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'serviceaccounts' AND subresource = 'token' AND api_group IS NULL
  AND verb = 'create' AND response_code BETWEEN 200 AND 299
  -- A dry run counts: the API server signs and hands out the token all the same.
  -- Kubelets ask for the tokens of their pods, the controller manager for its controllers'.
  AND NOT is_system_user(user_name)
  -- Operators in pods hand out tokens to what they manage. They have the token of their pod; a
  -- source that does not tell the pod (it tells no groups either) leaves the address to go by. A
  -- tool of the hand there is no operator.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
