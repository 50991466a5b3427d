/*
id: K8A-108
title: One identity was denied many different things
severity: medium
attack: [T1613, T1069]
controls: [API-4]
window: 10m
slide: 1m
params: {distinct_objects: 12}
dedup: 6h
exempt: [control-plane, cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} was denied {{distinct_objects}} different things in {{requests}} requests from {{source_ip}}"
false_positives: >-
  A new client whose role is not written yet, and graphical clients (Lens, Headlamp) that list every
  kind for a person who may see few. A client that lacks a permission asks for the same few things
  again and again, which does not count here; one that asks for many objects by name does.
respond: >-
  Ask the owner of the identity. If it was not them, revoke the credential, and see what the same
  identity and address were allowed before and after.
*/
-- Denied by authorization (decision forbid), or before it by impersonation (no decision at all);
-- a 403 from admission is a request that was allowed. Different things, not tries: a client that
-- lacks a permission repeats itself, one that looks around does not. Anonymous requests are a
-- matter of their own, and so are the caches of an operator in its pod, which ask for every kind in
-- every namespace until their role is mended.
SELECT
  cluster, user_name, source_ip, count(*) AS requests,
  count(DISTINCT CASE WHEN resource IS NULL THEN split_part(request_uri, '?', 1)
    ELSE concat_ws('/', namespace, resource, subresource, name) END) AS distinct_objects,
  count(DISTINCT resource) AS resources, count(DISTINCT namespace) AS namespaces
FROM events
WHERE response_code = 403 AND stage = 'ResponseComplete' AND (decision IS DISTINCT FROM 'allow')
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
  AND (user_name LIKE 'system:serviceaccount:%' AND pod_name IS NOT NULL
    AND (url_param(request_uri, 'resourceVersion') IS NOT NULL
      OR url_param(request_uri, 'sendInitialEvents') = 'true')) IS NOT TRUE
GROUP BY cluster, user_name, source_ip
HAVING count(DISTINCT CASE WHEN resource IS NULL THEN split_part(request_uri, '?', 1)
    ELSE concat_ws('/', namespace, resource, subresource, name) END) >= $distinct_objects
