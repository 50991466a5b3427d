/*
id: K8A-616
title: Dashboard or data store opened by a load balancer
severity: medium
attack: [T1133, T1190]
controls: [NET-2, NET-5]
key: [user_name, impersonated_user, namespace, name]
dedup: 1h
needs: {level: Request, resources: [services], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} opened service {{namespace}}/{{name}}, a dashboard or data store, to every address by {{verb}} from {{source_ip}}"
false_positives: A data store that is meant to be reached from outside, with its own access control.
respond: >-
  Take the load balancer away or limit it, then look into the logs of what is behind it: such
  addresses are found within hours, and dashboards and stores without a password are taken over
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, namespace, name,
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
  -- By its name or by the port that such a thing has; names are all that a patch of parts has.
  AND (regexp_like(name,
      concat('^(.*-)?(kubernetes-dashboard|dashboard-kong-proxy|tiller-deploy|weave-scope-app|',
        'argo-server|argo-workflows-server|jupyter|jupyterhub|ml-pipeline(-ui)?|',
        'centraldashboard|kubeapps|octant|redis(-master)?|postgres(ql)?|mysql|mariadb|',
        'mongo(db)?|elasticsearch(-master)?|opensearch|memcached|etcd|cassandra)$'))
    OR json_exists(request_object, '$.spec.ports[?@.port == 6379 || @.port == 5432
      || @.port == 3306 || @.port == 27017 || @.port == 9200 || @.port == 11211 || @.port == 2379
      || @.port == 2375 || @.port == 10250 || @.port == 9042]'))
  -- Operators and their like write whole objects again and again.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb = 'update') IS NOT TRUE
