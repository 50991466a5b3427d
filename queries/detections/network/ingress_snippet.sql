/*
id: K8A-617
title: Ingress brings its own configuration of the proxy
severity: low
attack: [T1190, T1552]
controls: [NET-2]
key: [user_name, impersonated_user, namespace]
dedup: 1h
needs: {level: Request, resources: [ingresses], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} gave ingress {{namespace}}/{{name}} configuration of the proxy by {{verb}} from {{source_ip}}"
false_positives: Headers and redirects that the annotations of their own do not have.
respond: >-
  Read the snippet. It is part of a configuration that serves all namespaces (CVE-2021-25742), so
  allow-snippet-annotations should be off where not all authors are trusted.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'ingresses' AND api_group IN ('networking.k8s.io', 'extensions')
  AND subresource IS NULL AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_exists(request_object, '$.metadata.annotations[
      "nginx.ingress.kubernetes.io/configuration-snippet",
      "nginx.ingress.kubernetes.io/server-snippet", "nginx.ingress.kubernetes.io/auth-snippet",
      "nginx.ingress.kubernetes.io/stream-snippet",
      "nginx.ingress.kubernetes.io/modsecurity-snippet"]')
    OR json_exists(request_object, '$[?@.op != "remove" && search(@.path,
      "^/metadata/annotations/nginx.ingress.kubernetes.io~1[a-z]+-snippet$")]'))
  -- In a merge patch null takes it away.
  AND regexp_like(request_object, '-snippet"\s*:\s*null') IS NOT TRUE
  -- Operators and their like write whole objects again and again.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb = 'update') IS NOT TRUE
