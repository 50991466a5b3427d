/*
id: K8A-103
title: Secrets read or commands run without credentials
severity: critical
attack: [T1552.007, T1609, T1190]
controls: [API-1, SEC-1]
key: [source_ip]
needs: {level: Metadata, resources: [secrets, configmaps, pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy, nodes/proxy], stages: [ResponseStarted, ResponseComplete]}
describe: "anonymous {{verb}} of {{what}} {{object}} from {{source_ip}} ({{user_agent}}) was answered {{response_code}}"
false_positives: >-
  A ConfigMap that is published by name does not count, only lists of them. A dashboard published
  through services/proxy does: give it an address of its own.
respond: >-
  Delete the binding that authorization_reason names. Rotate every secret within its reach, service
  account tokens first; keep the pods that were entered for inspection.
*/
SELECT
  cluster, source_ip, user_agent, verb, resource, subresource, namespace, name, response_code,
  request_uri, concat_ws('/', resource, subresource) AS what,
  concat_ws('/', namespace, name) AS object, decision_reason AS authorization_reason
FROM events
WHERE (user_name = 'system:anonymous' OR has_group(user_groups, 'system:unauthenticated'))
  AND api_group IS NULL
  AND (
    -- A watch is told when it starts; its completion tells of it again.
    resource IN ('secrets', 'configmaps') AND response_code BETWEEN 200 AND 299
      AND (verb IN ('list', 'watch') OR verb = 'get' AND resource = 'secrets')
      -- What is in kube-public is for everybody.
      AND (namespace IS DISTINCT FROM 'kube-public')
      AND (verb = 'watch' AND stage = 'ResponseComplete') IS NOT TRUE
    -- Sessions, by whatever verb, when they start.
    OR resource IN ('pods', 'services', 'nodes')
      AND subresource IN ('exec', 'attach', 'portforward', 'proxy')
      AND stage = 'ResponseStarted' AND response_code < 300)
