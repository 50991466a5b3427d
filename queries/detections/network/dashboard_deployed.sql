/*
id: K8A-651
title: Web console or Tiller deployed
severity: low
attack: [T1133]
controls: [NET-5]
key: [user_name, impersonated_user, namespace]
needs: {level: Request, resources: [deployments, daemonsets, statefulsets, pods], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} deployed {{images}} by {{verb}} of {{resource}} {{namespace}}/{{name}} from {{source_ip}}"
false_positives: Teams that work with such a console, behind a login.
respond: >-
  See that it is reached through a login only, and what its service account may do. Remove Tiller,
  which asks nobody.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace, name,
  translate(json_query(request_object, '$..containers[?search(@.image,
    "kubernetes-?ui/dashboard|/tiller:|weaveworks/scope|kubeapps/dashboard|octant|portainer/"
    )].image'), '[]"', '') AS images,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('deployments', 'daemonsets', 'statefulsets', 'pods')
  AND (api_group = 'apps' OR api_group IS NULL) AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$..containers[?search(@.image,
    "kubernetes-?ui/dashboard|/tiller:|weaveworks/scope|kubeapps/dashboard|octant|portainer/")]')
  -- Written by a person or a pipeline, not again by a controller.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb = 'update') IS NOT TRUE
