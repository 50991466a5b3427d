/*
id: K8A-646
title: Ingress without TLS
severity: informational
attack: [T1557]
controls: [NET-2]
key: [namespace, name]
dedup: 24h
needs: {level: Request, resources: [ingresses], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions]
describe: "{{user_name}}{{acting_as}} wrote ingress {{namespace}}/{{name}} without TLS by {{verb}} from {{source_ip}}"
false_positives: A proxy in front of it that speaks TLS, or has a certificate for all.
respond: Add a certificate (spec.tls).
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'ingresses' AND api_group IN ('networking.k8s.io', 'extensions')
  AND subresource IS NULL AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.kind') AND json_exists(request_object, '$.spec')
  AND json_exists(request_object, '$.spec.tls[0]') IS NOT TRUE
  -- Proxies that end TLS with certificates of their own.
  AND regexp_like(request_object, concat('certificate-arn|pre-shared-cert|',
    'managed-certificates|appgw-ssl-certificate|router.tls')) IS NOT TRUE
