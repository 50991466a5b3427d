/*
id: K8A-601
title: Admission webhook or mutating policy created, changed or deleted by hand
severity: low
attack: [T1546, T1685]
controls: [WL-6]
key: [user_name, impersonated_user, source_ip]
needs: {level: Metadata, resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations, mutatingadmissionpolicies, mutatingadmissionpolicybindings], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} changed admission by {{verb}} of {{resource}} {{object}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  The installation, upgrade or removal of a component that has webhooks. An operator's own service
  account that renews the certificate of its webhook does not count.
respond: >-
  Find out which component the webhook belongs to. One that nobody knows sees, and may change, every
  object that its rules name: delete it and look at what was created while it was there.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource,
  coalesce(name, '(all)') AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('mutatingwebhookconfigurations', 'validatingwebhookconfigurations',
    'mutatingadmissionpolicies', 'mutatingadmissionpolicybindings')
  AND api_group = 'admissionregistration.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Operators write the certificates of their own webhooks all day. Whether such a write weakens a
  -- webhook or leads it elsewhere is asked of everybody by detections of their own.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb IN ('update', 'patch')) IS NOT TRUE
