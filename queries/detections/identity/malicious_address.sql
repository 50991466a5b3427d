/*
id: K8A-134
title: Credential used from an address that is known for attacks
severity: high
attack: [T1078, T1133]
controls: [API-2, MON-2]
key: [user_name, source_ip]
dedup: 6h
needs: {level: Metadata, stages: [ResponseComplete], address_lists: [malicious]}
describe: "{{user_name}} asked from {{source_ip}}, an address in the list of malicious ones, to {{verb}} {{object}} ({{user_agent}}): {{came_of_it}}"
false_positives: >-
  A list that is too wide: a provider's whole network, an address that has changed hands since.
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
  AND listed_ip(source_ip, 'malicious')
