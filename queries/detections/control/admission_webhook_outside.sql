/*
id: K8A-635
title: Admission webhook leads out of the cluster
severity: high
attack: [T1546, T1557]
controls: [WL-6]
key: [user_name, impersonated_user, resource, object]
needs: {level: Request, resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} had the API server ask {{addresses}} about objects by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: >-
  A policy service that is bought and runs elsewhere; a webhook that is developed on a laptop.
respond: >-
  Unless its owner confirms the address, delete the webhook. The address has got every object that
  the rules name, with values (Secrets too, if they are named), and a mutating one may have changed
  them: look at what was created while it was there.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource,
  coalesce(name, json_value(request_object, '$.metadata.name')) AS object,
  translate(coalesce(nullif(json_query(request_object, '$..url'), '[]'),
    json_query(request_object, '$[*].value')), '[]"', '') AS addresses,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('mutatingwebhookconfigurations', 'validatingwebhookconfigurations')
  AND api_group = 'admissionregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- A webhook is a service of the cluster, or an address. Private ones, as those of control planes
  -- that run beside their webhooks, are for a detection of its own.
  AND (json_exists(request_object, '$..[?search(@.url, "^https://") && !search(@.url,
      "^https://(localhost|127\\.|\\[::1\\]|10\\.|192\\.168\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.)")
      && !search(@.url, "^https://[^/:@]+\\.svc(\\.[^/:@]+)?(:[0-9]+)?(/|$)")]')
    -- A JSON patch of the address alone.
    OR json_exists(request_object, '$[?search(@.path, "/clientConfig/url$")
      && search(@.value, "^https://") && !search(@.value,
      "^https://(localhost|127\\.|\\[::1\\]|10\\.|192\\.168\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.)")
      && !search(@.value, "^https://[^/:@]+\\.svc(\\.[^/:@]+)?(:[0-9]+)?(/|$)")]'))
