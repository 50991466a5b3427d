/*
id: K8A-125
title: Impersonation was denied
severity: low
attack: [T1078, T1098.006]
controls: [RBAC-5, API-4]
key: [user_name, source_ip]
dedup: 6h
exempt: [control-plane, cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} tried to act as another to {{verb}} {{what}} from {{source_ip}} ({{user_agent}}): {{response_message}}"
false_positives: >-
  Somebody with the flags of another cluster in their configuration (`--as`), a gateway whose role
  was not extended.
respond: >-
  Ask the person as whom they meant to act, and why. See what else the identity was denied.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, resource, namespace, response_message,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
-- Refused before authorization: no decision. Newer API servers ask first for a narrower right and
-- name that (`impersonate-on:...`). A role that was refused for having the verb in it has a
-- decision.
WHERE response_code = 403 AND decision IS NULL AND stage = 'ResponseComplete'
  AND (response_message LIKE '%cannot impersonate %'
    OR response_message LIKE '%cannot impersonate-on:%')
