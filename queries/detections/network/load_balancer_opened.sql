/*
id: K8A-645
title: Load balancer open to every address
severity: informational
attack: [T1133]
controls: [NET-2]
key: [namespace, name]
dedup: 24h
needs: {level: Request, resources: [services], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions]
describe: "{{user_name}}{{acting_as}} had a load balancer made for service {{namespace}}/{{name}}, open to every address, by {{verb}} from {{source_ip}}"
false_positives: What is meant for everybody.
respond: Limit it to the networks that need it (spec.loadBalancerSourceRanges), or make it internal.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'services' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_value(request_object, '$.spec.type') = 'LoadBalancer'
      OR json_exists(request_object, '$[?@.path == "/spec/type" && @.value == "LoadBalancer"]'))
  -- Who may come in is limited, or only the own network may.
  AND json_exists(request_object, '$.spec.loadBalancerSourceRanges[0]') IS NOT TRUE
  AND regexp_like(request_object,
    'load-balancer-internal"\s*:\s*"?(true|0\.0\.0\.0/0)|"(internal|Internal)"') IS NOT TRUE
