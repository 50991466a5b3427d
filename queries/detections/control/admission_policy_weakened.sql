/*
id: K8A-603
title: Admission policy deleted or weakened
severity: medium
attack: [T1685]
controls: [WL-6, WL-5]
key: [user_name, impersonated_user, resource, object]
needs: {level: Metadata, resources: [validatingadmissionpolicies, validatingadmissionpolicybindings], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} weakened or removed {{resource}} {{object}} by {{verb}} from {{source_ip}}: {{change}}"
false_positives: >-
  Policies that are developed or cleaned up by hand, or rolled back during an incident. Delivery
  tools are exempt; exempt the person and the policy's name where this is the way of working.
respond: >-
  Put the policy back from its source, and look at what was created or changed meanwhile that it
  would have refused.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource,
  coalesce(name, '(all)') AS object,
  coalesce(left(coalesce(json_query(request_object, '$.spec'), request_object), 300), 'gone')
    AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('validatingadmissionpolicies', 'validatingadmissionpolicybindings')
  AND api_group = 'admissionregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
  AND (verb IN ('delete', 'deletecollection')
    -- A binding that no longer denies: actions without Deny, in any form of writing.
    OR (resource = 'validatingadmissionpolicybindings'
      AND json_exists(request_object, '$.spec.validationActions')
      AND json_exists(request_object, '$.spec.validationActions[?@ == "Deny"]') IS NOT TRUE)
    OR json_exists(request_object, '$[?@.path == "/spec/validationActions" && @.op != "add"
      && !@.value[?@ == "Deny"]]')
    OR json_exists(request_object, '$[?search(@.path, "^/spec/validationActions/")
      && @.op == "remove"]')
    -- What it looks at, what it says, and that its failure lets pass: told of patches of parts, for
    -- an object that is written as a whole does not say what changed.
    OR json_exists(request_object, '$[?search(@.path,
      "^/spec/(matchResources|matchConstraints|matchConditions|validations|paramRef)")]')
    OR json_exists(request_object, '$[?@.path == "/spec/failurePolicy" && @.value == "Ignore"]')
    OR (verb = 'patch' AND json_exists(request_object, '$.kind') IS NOT TRUE
      AND (json_exists(request_object, '$.spec["matchResources", "matchConstraints",
          "matchConditions", "validations", "paramRef"]')
        OR json_value(request_object, '$.spec.failurePolicy') = 'Ignore')))
