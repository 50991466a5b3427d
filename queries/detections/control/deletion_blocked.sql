/*
id: K8A-633
title: Finalizer or owner of an object written by hand
severity: low
attack: [T1499, T1098]
controls: [MON-5]
key: [user_name, impersonated_user, resource, object]
needs: {level: Request, verbs: [update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} wrote {{what}} of {{resource}} {{object}} by {{verb}} from {{source_ip}}"
false_positives: >-
  Somebody who tries out a controller. That finalizers are taken away from what hangs does not
  count.
respond: >-
  A finalizer that no controller knows keeps an object from being deleted: a binding or a pod that
  an attacker wants to stay. An owner that does not exist has it deleted. Take it off.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource,
  CASE WHEN resource = 'namespaces' THEN name ELSE concat_ws('/', namespace, name) END AS object,
  CASE WHEN json_exists(request_object, '$.metadata.finalizers')
    OR json_exists(request_object, '$[?search(@.path, "^/metadata/finalizers")]')
    THEN 'finalizers' ELSE 'owners' END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE verb IN ('update', 'patch') AND subresource IS NULL
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- Controllers do this all day, under accounts of their own or of the system.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
    IS NOT TRUE
  AND NOT is_system_user(user_name)
  -- A patch for this alone; an object that is written as a whole has a kind.
  AND ((json_exists(request_object, '$.metadata["finalizers", "ownerReferences"][0]')
      AND json_exists(request_object, '$.kind') IS NOT TRUE)
    OR json_exists(request_object,
      '$[?search(@.path, "^/metadata/(finalizers|ownerReferences)") && @.op != "remove"
        && @.op != "test" && @.value != null]'))
