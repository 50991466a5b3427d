/*
id: K8A-648
title: Endpoints that a controller keeps were overwritten
severity: medium
attack: [T1557]
controls: [NET-1]
window: 30m
slide: 3m
dedup: 6h
needs: {level: Metadata, resources: [endpoints, endpointslices], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{writer}} wrote {{resource}} {{namespace}}/{{name}} from {{from_ip}}, which a controller of the cluster keeps"
false_positives: Somebody who frees a service from a stuck address by hand.
respond: >-
  The controller puts most of it right by itself, seconds or minutes later. Until then, part of the
  service's connections went to the other address: ask the person; if it was not them, revoke the
  credential and treat what clients sent as known.
*/
-- Addresses that people keep for services without pods are no controller's: it never writes them.
SELECT
  cluster, resource, namespace, name,
  min(user_name) FILTER (WHERE NOT user_name LIKE 'system:serviceaccount:kube-system:endpoint%')
    AS writer,
  min(source_ip) FILTER (WHERE NOT user_name LIKE 'system:serviceaccount:kube-system:endpoint%')
    AS from_ip
FROM events
WHERE ((resource = 'endpoints' AND api_group IS NULL)
    OR (resource = 'endpointslices' AND api_group = 'discovery.k8s.io'))
  AND verb IN ('create', 'update', 'patch') AND subresource IS NULL
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- The controllers' accounts are service accounts; the API server keeps its own endpoints.
  AND NOT is_system_user(user_name)
GROUP BY cluster, resource, namespace, name
HAVING count(*) FILTER (WHERE NOT user_name LIKE 'system:serviceaccount:kube-system:endpoint%') >= 1
  AND count(*) FILTER (WHERE user_name LIKE 'system:serviceaccount:kube-system:endpoint%') >= 1
