/*
id: K8A-607
title: Object admitted against an admission policy
severity: informational
attack: [T1610]
controls: [WL-6]
key: [policy, namespace, user_name]
dedup: 24h
needs: {level: Metadata, verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{object}} from {{source_ip}} against policy {{policy}}, whose binding only audits: {{message}}"
false_positives: A policy that is being introduced and audits first.
respond: Mend the object; let the binding deny once nothing fails any more.
*/
SELECT
  cluster, user_name, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(generated name)')) AS object,
  coalesce(json_value(annotation(annotations,
    'validation.policy.admission.k8s.io/validation_failure'), '$[0].policy'), '?') AS policy,
  coalesce(left(json_value(annotation(annotations,
    'validation.policy.admission.k8s.io/validation_failure'), '$[0].message'), 200), '') AS message
FROM events
WHERE verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND annotations LIKE '%"validation.policy.admission.k8s.io/validation_failure"%'
