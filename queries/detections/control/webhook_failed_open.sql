/*
id: K8A-641
title: Admission webhook did not answer, and requests went past it
severity: low
attack: [T1685]
controls: [WL-6]
key: [webhook]
needs: {level: Metadata, verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{verb}} of {{resource}} {{object}} by {{user_name}} from {{source_ip}} was not checked: webhook {{webhook}} did not answer and fails open"
false_positives: The webhook's pods were restarted or moved.
respond: >-
  See whether the webhook runs, and who stopped it. What went past it is in the count: look at it.
  Let it fail closed where it guards.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, verb, resource,
  concat_ws('/', namespace, coalesce(name, '(generated name)')) AS object,
  -- The key says which call of the request it was, the value which webhook.
  split_part(split_part(annotations, '"failed-open.', 2), '"', 3) AS webhook
FROM events
WHERE verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND annotations LIKE '%"failed-open.%'
