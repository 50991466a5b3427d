/*
id: K8A-213
title: Token minted of a kube-system account, or one that lasts
severity: high
attack: [T1528, T1098]
controls: [SA-2]
key: [user_name, namespace, name]
params: {seconds: 604800}
exempt: [control-plane, cloud, gitops, platform, credentials-issuers]
needs: {level: Request, least: Metadata, resources: [serviceaccounts/token], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} minted a token of {{namespace}}/{{name}}, good for {{hours}} hours, from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who makes a token for a pipeline or monitor outside the cluster, or logs in to a
  dashboard whose account lies in kube-system.
respond: >-
  Ask the person. The controllers' accounts of kube-system may write roles, secrets and pods
  anywhere: unless it was meant, delete and recreate the service account, which ends all its tokens,
  and look for requests of issued_credential (credential_id).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  annotation(annotations, 'authentication.kubernetes.io/issued-credential-id')
    AS issued_credential,
  -- An hour, where the request does not say.
  coalesce(try_cast(json_value(request_object, '$.spec.expirationSeconds') AS bigint), 3600)
    / 3600 AS hours,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'serviceaccounts' AND subresource = 'token' AND api_group IS NULL
  AND verb = 'create' AND response_code BETWEEN 200 AND 299
  -- A dry run counts: the API server signs and hands out the token all the same.
  -- Kubelets ask for the tokens of their pods, the controller manager for its controllers'.
  AND NOT is_system_user(user_name)
  AND (
    -- Here are the accounts of all controllers.
    (namespace = 'kube-system'
      -- A component that renews its own token in its own pod.
      AND (user_name = concat('system:serviceaccount:kube-system:', name)
        AND pod_name IS NOT NULL) IS NOT TRUE)
    -- One bound to a pod ends with it.
    OR (try_cast(json_value(request_object, '$.spec.expirationSeconds') AS bigint) >= $seconds
      AND (json_value(request_object, '$.spec.boundObjectRef.kind') IS DISTINCT FROM 'Pod')))
