/*
id: K8A-639
title: Security policy changed by hand, and to what is not recorded
severity: low
attack: [T1685]
controls: [WL-6, NET-1, NET-3]
key: [user_name, impersonated_user, api_group]
needs: {level: Metadata, verbs: [update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} changed {{resource}} {{object}} of {{api_group}} by {{verb}} from {{source_ip}}, and the audit policy does not record to what"
false_positives: Policies that are maintained by hand.
respond: >-
  Read the object as it is now. Have the audit policy record these API groups at level Request: then
  only what weakens a policy is told of, with more weight.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, api_group, resource, namespace,
  concat_ws('/', namespace, name) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE verb IN ('update', 'patch') AND subresource IS NULL
  AND api_group IN ('kyverno.io', 'policies.kyverno.io', 'constraints.gatekeeper.sh',
    'templates.gatekeeper.sh', 'policies.kubewarden.io', 'policy.sigstore.dev',
    'security.istio.io', 'policy.linkerd.io', 'cilium.io', 'projectcalico.org',
    'crd.projectcalico.org', 'crd.antrea.io', 'policy.networking.k8s.io')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
  AND level = 'Metadata'
  -- Their operators write them all day; so do they reports, endpoints and identities.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
    IS NOT TRUE
