/*
id: K8A-602
title: Admission webhook weakened
severity: medium
attack: [T1685]
controls: [WL-6]
key: [user_name, impersonated_user, resource, name]
needs: {level: Request, resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations], verbs: [update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform, control-certificates]
describe: "{{user_name}}{{acting_as}} made {{resource}} {{name}} look at less, fail open or ask another service by {{verb}} from {{source_ip}}: {{change}}"
false_positives: >-
  An upgrade that changes what a component's webhook looks at; somebody who lifts a block during an
  outage of the webhook, which should be taken back afterwards.
respond: >-
  Compare with the configuration as it was installed and put it back. What was created or changed
  since has not been checked: list it (user, verb create, update, patch) and look at it.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, name,
  left(coalesce(nullif(json_query(request_object, '$.webhooks[*]'), '[]'), request_object), 300)
    AS change,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('mutatingwebhookconfigurations', 'validatingwebhookconfigurations')
  AND api_group = 'admissionregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- A JSON patch: what an object matches, who is asked, or that nobody need answer. New
    -- certificates (/clientConfig/caBundle) are everyday.
    json_exists(request_object, '$[?
      search(@.path, "^/webhooks/[0-9]+/(namespaceSelector|objectSelector|matchConditions|rules)")
      || search(@.path, "^/webhooks/[0-9]+/clientConfig(/service.*|/url)?$")
      || (search(@.path, "^/webhooks/[0-9]+/failurePolicy$") && @.value == "Ignore")
      || (search(@.path, "^/webhooks(/[0-9]+)?$") && @.op == "remove")]')
    -- A patch of parts names what it changes; one that carries a webhook's whole address and rules
    -- is an object written again, of which nobody can say what changed.
    OR (verb = 'patch' AND json_exists(request_object, '$.webhooks[?
      (@.failurePolicy == "Ignore" || @.namespaceSelector || @.objectSelector
        || @.matchConditions || @.rules)
      && !@.clientConfig.service && !@.clientConfig.url]'))
    OR (verb = 'patch' AND json_exists(request_object, '$.webhooks[?
      (@.clientConfig.service || @.clientConfig.url) && !@.rules]'))
    OR json_exists(request_object, '$.webhooks[?@["$patch"] == "delete"]')
    -- Emptied: the configuration stays, and asks nobody.
    OR (json_exists(request_object, '$.webhooks')
      AND json_exists(request_object, '$.webhooks[0]') IS NOT TRUE)
    OR (verb = 'update' AND json_exists(request_object, '$.metadata')
      AND json_exists(request_object, '$.webhooks') IS NOT TRUE))
