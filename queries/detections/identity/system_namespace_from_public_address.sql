/*
id: K8A-117
title: Person at work in a namespace of the system from a public address that nobody listed
severity: low
attack: [T1078, T1133]
controls: [API-2, MON-2]
key: [user_name, namespace]
dedup: 1d
exempt: [cloud]
needs: {level: Metadata, stages: [ResponseComplete], address_lists: [cluster, trusted]}
describe: "{{user_name}} did {{verb}} {{what}} from {{source_ip}} ({{user_agent}}), a public address that is in no list"
false_positives: >-
  An administrator at home or on the way. Offices, tunnels and build systems belong into the list
  `trusted`.
respond: >-
  Ask the person whether it was them. If not, revoke the credential and see what it did from there;
  what runs in these namespaces can take over the cluster.
*/
-- The list `trusted`: where people and build systems come from; `cluster`: what the cluster itself
-- comes from.
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, namespace, request_uri,
  credential_id, concat_ws('/', namespace, resource, subresource, name) AS what
FROM events
WHERE decision = 'allow' AND (stage = 'ResponseStarted') IS NOT TRUE
  AND namespace IN ('kube-system', 'kube-public', 'kube-node-lease', 'gke-managed-system')
  -- Machines are another detection's.
  AND NOT is_system_user(user_name) AND user_name NOT LIKE 'system:serviceaccount:%'
  AND user_name <> 'system:anonymous'
  AND NOT private_ip(source_ip) AND NOT listed_ip(source_ip, 'trusted')
  AND NOT listed_ip(source_ip, 'cluster')
