/*
id: K8A-604
title: Policy of a policy engine removed, or no longer enforced
severity: medium
attack: [T1685]
controls: [WL-6, IMG-2, MON-1]
key: [user_name, impersonated_user, source_ip, engine]
needs: {level: Metadata, resources: [clusterpolicies, policies, validatingpolicies, imagevalidatingpolicies, mutatingpolicies, constrainttemplates, clusteradmissionpolicies, admissionpolicies, clusterimagepolicies, tracingpolicies, kubearmorpolicies, validatingwebhookconfigurations, mutatingwebhookconfigurations, customresourcedefinitions], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} removed or stopped enforcing {{resource}} {{object}} of {{engine}} by {{verb}} from {{source_ip}}"
false_positives: >-
  The engine is taken away or moved to another version by hand; policies that are tried out in a
  test cluster. What a delivery tool prunes does not count.
respond: >-
  Put the policy back from its source. List what was created or changed since: nothing has refused
  it. That a policy was set to audit only shows where the audit policy records its body (level
  Request for the engine's API groups).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, api_group, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE
    WHEN api_group LIKE '%kyverno.io' OR name LIKE 'kyverno-%' OR name LIKE '%.kyverno.io'
      THEN 'Kyverno'
    WHEN api_group LIKE '%gatekeeper.sh' OR name LIKE '%gatekeeper%' THEN 'Gatekeeper'
    WHEN api_group LIKE '%kubewarden.io' OR name LIKE '%kubewarden%' THEN 'Kubewarden'
    WHEN api_group = 'policy.sigstore.dev' OR name LIKE '%sigstore.dev' THEN 'Sigstore'
    WHEN api_group LIKE '%kubearmor.com' OR name LIKE '%kubearmor%' THEN 'KubeArmor'
    ELSE 'Tetragon' END AS engine,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE verb IN ('update', 'patch', 'delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
  AND (
    -- The policies themselves. Engines have more kinds (reports, requests, exceptions), which they
    -- delete by the thousand.
    (((api_group IN ('kyverno.io', 'policies.kyverno.io') AND resource IN ('clusterpolicies',
          'policies', 'validatingpolicies', 'imagevalidatingpolicies', 'mutatingpolicies',
          'namespacedvalidatingpolicies', 'namespacedimagevalidatingpolicies'))
        OR (api_group = 'templates.gatekeeper.sh' AND resource = 'constrainttemplates')
        -- Each constraint's kind is made by its template.
        OR api_group = 'constraints.gatekeeper.sh'
        OR (api_group = 'policies.kubewarden.io'
          AND resource IN ('clusteradmissionpolicies', 'admissionpolicies'))
        OR (api_group = 'policy.sigstore.dev' AND resource = 'clusterimagepolicies')
        OR (api_group = 'cilium.io'
          AND resource IN ('tracingpolicies', 'tracingpoliciesnamespaced'))
        OR (api_group = 'security.kubearmor.com'
          AND resource IN ('kubearmorpolicies', 'kubearmorclusterpolicies')))
      AND (verb IN ('delete', 'deletecollection')
        -- Still there, and only looking on: in a whole object that is written over an older one, a
        -- patch of parts or a JSON patch.
        OR (verb IN ('update', 'patch') AND json_exists(request_object, '$.spec[?
          @ == "Audit" || @ == "audit" || @ == "dryrun" || @ == "monitor"]'))
        OR (verb IN ('update', 'patch') AND json_exists(request_object, '$..validate[?
          @ == "Audit" || @ == "audit"]'))
        OR (verb IN ('update', 'patch') AND json_exists(request_object, '$.spec.validationActions')
          AND json_exists(request_object, '$.spec.validationActions[?@ == "Deny"]') IS NOT TRUE)
        OR (verb = 'patch' AND json_exists(request_object, '$[?search(@.path,
          "(validationFailureAction|failureAction|enforcementAction|mode|validationActions)")
          && (@.op == "remove" || @.value == "Audit" || @.value == "audit" || @.value == "dryrun"
            || @.value == "warn" || @.value == "Warn" || @.value == "monitor")]'))))
    -- What calls the engine, and what keeps all its policies.
    OR (verb IN ('delete', 'deletecollection') AND api_group = 'admissionregistration.k8s.io'
      AND resource IN ('validatingwebhookconfigurations', 'mutatingwebhookconfigurations')
      AND (name LIKE 'kyverno-%' OR name LIKE 'gatekeeper-%' OR name LIKE '%kubewarden%'
        OR name LIKE '%sigstore.dev'))
    OR (verb IN ('delete', 'deletecollection') AND api_group = 'apiextensions.k8s.io'
      AND resource = 'customresourcedefinitions'
      AND (name LIKE '%policies.kyverno.io' OR name LIKE '%.constraints.gatekeeper.sh'
        OR name LIKE '%.templates.gatekeeper.sh' OR name LIKE '%policies.policies.kubewarden.io'
        OR name = 'clusterimagepolicies.policy.sigstore.dev'
        OR name LIKE 'tracingpolicies%.cilium.io'
        OR name LIKE 'kubearmor%policies.security.kubearmor.com')))
