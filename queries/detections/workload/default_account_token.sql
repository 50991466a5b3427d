/*
id: K8A-538
title: Default service account gives its token to pods again
severity: low
attack: [T1528]
controls: [SA-1]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [serviceaccounts], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} let the default account of {{namespace}} be mounted into pods by {{verb}} from {{source_ip}}"
false_positives: >-
  A manifest that spells out what is the rule anyway.
respond: >-
  Give the workload that needs the API an account of its own, and turn this off again: every pod
  that names no account has the token now.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace, name
FROM events
WHERE resource = 'serviceaccounts' AND api_group IS NULL AND subresource IS NULL
  AND name = 'default' AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_value(request_object, '$.automountServiceAccountToken') = 'true'
    OR json_exists(request_object,
      '$[?@.path == "/automountServiceAccountToken" && (@.value == true || @.op == "remove")]'))
