/*
id: K8A-647
title: Ingress breaks into the proxy's configuration
severity: high
attack: [T1190, T1552.007]
controls: [NET-2]
key: [user_name, impersonated_user, namespace, name]
dedup: 1h
needs: {level: Request, resources: [ingresses], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} wrote ingress {{namespace}}/{{name}} by {{verb}} from {{source_ip}} with annotations that break into the configuration of the proxy"
false_positives: Proxies that are configured with Lua by their own team.
respond: >-
  Delete the ingress. The proxy's service account reads the secrets of all namespaces in most
  installations: treat them as known, update the proxy, turn snippets off, and revoke the credential
  that wrote this.
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
  AND (
    -- Files of the proxy, its interpreter, its modules: nothing that an application needs.
    json_exists(request_object, '$.metadata.annotations[?search(@,
      "/run/secrets|/etc/(passwd|shadow|ingress-controller)|/proc/self|by_lua|load_module")
      || search(@, "ssl_engine|io\\.(popen|open)|os\\.execute")]')
    OR json_exists(request_object, '$[?search(@.path, "^/metadata/annotations/") && (search(@.value,
      "/run/secrets|/etc/(passwd|shadow|ingress-controller)|/proc/self|by_lua|load_module")
      || search(@.value, "ssl_engine|io\\.(popen|open)|os\\.execute"))]')
    -- Values that become part of one line, with the end of that line in them (CVE-2025-1097,
    -- CVE-2025-1098, CVE-2025-24514).
    OR regexp_like(json_value(request_object,
      '$.metadata.annotations["nginx.ingress.kubernetes.io/auth-url"]'), '[;\n]')
    OR regexp_like(json_value(request_object,
      '$.metadata.annotations["nginx.ingress.kubernetes.io/auth-tls-match-cn"]'), '[;\n]')
    OR regexp_like(json_value(request_object,
      '$.metadata.annotations["nginx.ingress.kubernetes.io/mirror-target"]'), '[;\n]'))
