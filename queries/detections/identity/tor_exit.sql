/*
id: K8A-118
title: Credential used through Tor
severity: high
attack: [T1090, T1078]
controls: [API-2, MON-2]
key: [user_name, source_ip]
dedup: 6h
needs: {level: Metadata, stages: [ResponseComplete], address_lists: [tor]}
describe: "{{user_name}} asked from {{source_ip}}, an exit of Tor, to {{verb}} {{object}} ({{user_agent}}): {{came_of_it}}"
false_positives: >-
  A journalist or a researcher who works that way, and said so.
respond: >-
  Revoke the credential: whoever shows it from there has it. Then look at everything it did
  (`auditmill report actor --credential ID`) and where it may have been taken.
*/
-- With a credential that was right, whatever came of the request: who is nobody knocks from
-- everywhere all day.
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, request_uri, credential_id,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri)
    AS object,
  CASE WHEN decision = 'allow' THEN 'allowed' ELSE 'denied' END AS came_of_it
FROM events
WHERE decision IS NOT NULL AND (stage = 'ResponseStarted') IS NOT TRUE
  AND user_name <> 'system:anonymous'
  AND listed_ip(source_ip, 'tor')
