/*
id: K8A-120
title: Token of a pod used from somewhere else
severity: high
attack: [T1528, T1550.001, T1078]
controls: [RBAC-4, MON-2]
window: 1h
slide: 6m
dedup: 6h
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "the token of {{user_name}} in pod {{pod_name}} was used from {{source_ip}} and {{other_ip}}, by {{program}} at one and {{other_program}} at the other, in {{requests}} requests"
false_positives: >-
  Tools that lend a developer the identity of a pod (mirrord, Telepresence). Several programs in one
  pod of a cluster that shows them at different addresses.
respond: >-
  Delete the pod (its tokens end with it), and take the rights of the service account away until it
  is known how the token got out. See what was asked from the address that is not the pod's.
*/
-- A pod may have two addresses: its own, and its node's where the network translates. Then a
-- program comes from both, or keeps to the one where its connection happened to end. A thief brings
-- a tool to an address where nothing else of the pod is: so there is an address of tools alone, and
-- no program is at two addresses.
SELECT
  cluster, user_name, pod_name, json_value(user_extra,
    '$["authentication.kubernetes.io/pod-uid"][0]') AS pod_uid,
  min(node_name) AS node_name, min(source_ip) AS source_ip, max(source_ip) AS other_ip,
  min(split_part(user_agent, '/', 1)) AS program,
  max(split_part(user_agent, '/', 1)) AS other_program, count(*) AS requests
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
  AND stage = 'ResponseComplete'
  -- A server to which a pod presents its token may ask who that is with the token itself, as vaults
  -- do.
  AND (resource IN ('tokenreviews', 'selfsubjectreviews')) IS NOT TRUE
GROUP BY cluster, user_name, pod_name,
  json_value(user_extra, '$["authentication.kubernetes.io/pod-uid"][0]')
HAVING count(DISTINCT source_ip) >= 2
  AND count(DISTINCT source_ip) > count(DISTINCT source_ip) FILTER (WHERE NOT regexp_like(
    user_agent, '^(kubectl|oc|k9s|helm|curl|wget|httpie|python|openapi-generator|go-http-client|powershell|mozilla|axios|ruby|perl)', 'i'))
  AND count(DISTINCT concat(source_ip, ' ', split_part(user_agent, '/', 1)))
    = count(DISTINCT split_part(user_agent, '/', 1))
