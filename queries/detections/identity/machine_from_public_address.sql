/*
id: K8A-116
title: Identity of a node, a component or a pod used from a public address that is not the cluster's
severity: high
attack: [T1078, T1550.001]
controls: [API-2, API-3]
key: [user_name]
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete], address_lists: [cluster]}
describe: "{{user_name}}, an identity of the cluster's own, came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}: a public address that is not the cluster's"
false_positives: >-
  Nodes or a NAT gateway whose public addresses are not in the list; a build job outside that uses a
  service account. Put their addresses into the list `cluster`.
respond: >-
  The credential is out. Take the account's rights away, or delete the node's certificate and drain
  it, then see what was asked from that address and where the credential was read: exec, a secret, a
  log, a host path.
*/
-- The list `cluster`: public addresses of nodes, of NAT gateways, and of what else works for the
-- cluster from outside.
SELECT
  cluster, user_name, source_ip, user_agent, verb, request_uri, credential_id, response_code,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND (is_system_user(user_name) OR user_name LIKE 'system:serviceaccount:%'
    OR user_name LIKE 'eks:%')
  AND NOT private_ip(source_ip) AND NOT listed_ip(source_ip, 'cluster')
