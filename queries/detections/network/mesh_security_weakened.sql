/*
id: K8A-649
title: Mutual TLS or access policy of the mesh taken away
severity: medium
attack: [T1557, T1685]
controls: [NET-3]
key: [user_name, impersonated_user, source_ip, namespace]
needs: {level: Metadata, resources: [peerauthentications, authorizationpolicies, requestauthentications, destinationrules, servers, serverauthorizations, meshtlsauthentications, networkauthentications, namespaces], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} took away security of the mesh by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: >-
  An application leaves the mesh, or is moved into it step by step (PERMISSIVE).
respond: >-
  Put the policy back. Since then services answer to clients that show no certificate, and what they
  say can be read on the way. That a policy was changed shows only where the audit policy records it
  (level Request for security.istio.io, networking.istio.io, policy.linkerd.io).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, api_group, resource, namespace,
  CASE WHEN resource = 'namespaces' THEN name
    ELSE concat_ws('/', namespace, coalesce(name, '(all)')) END AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('peerauthentications', 'authorizationpolicies', 'requestauthentications',
    'destinationrules', 'servers', 'serverauthorizations', 'meshtlsauthentications',
    'networkauthentications', 'namespaces')
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  AND (
    (verb IN ('delete', 'deletecollection') AND (
      (api_group = 'security.istio.io' AND resource IN ('peerauthentications',
        'authorizationpolicies', 'requestauthentications'))
      OR (api_group = 'policy.linkerd.io' AND resource IN ('servers', 'serverauthorizations',
        'authorizationpolicies', 'meshtlsauthentications', 'networkauthentications'))))
    -- Istio: off, also for one port; half, where it was there before; towards a server.
    OR (api_group = 'security.istio.io' AND resource = 'peerauthentications'
      AND (json_value(request_object, '$.spec.mtls.mode') = 'DISABLE'
        OR json_exists(request_object, '$.spec.portLevelMtls[?@.mode == "DISABLE"]')
        OR (json_value(request_object, '$.spec.mtls.mode') = 'PERMISSIVE' AND response_code = 200)
        OR json_exists(request_object, '$[?search(@.path, "^/spec/(mtls|portLevelMtls)")
          && (@.op == "remove" || @.value == "DISABLE" || @.value == "PERMISSIVE")]')))
    OR (api_group = 'networking.istio.io' AND resource = 'destinationrules'
      AND json_value(request_object, '$.spec.trafficPolicy.tls.mode') = 'DISABLE')
    -- Linkerd: whoever comes.
    OR (api_group = 'policy.linkerd.io' AND resource = 'servers'
      AND json_value(request_object, '$.spec.accessPolicy')
        IN ('all-unauthenticated', 'cluster-unauthenticated'))
    OR (api_group = 'policy.linkerd.io' AND resource = 'serverauthorizations'
      AND json_value(request_object, '$.spec.client.unauthenticated') = 'true')
    -- A namespace leaves the mesh: its pods are made without a proxy from now on.
    OR (api_group IS NULL AND resource = 'namespaces' AND verb = 'patch' AND response_code = 200
      AND (json_value(request_object, '$.metadata.labels["istio-injection"]') = 'disabled'
        OR json_value(request_object, '$.metadata.labels["istio.io/dataplane-mode"]') = 'none'
        OR json_value(request_object, '$.metadata.annotations["linkerd.io/inject"]') = 'disabled'
        OR json_query(request_object,
          '$.metadata["labels", "annotations"]["istio-injection", "istio.io/dataplane-mode",
            "linkerd.io/inject"]') = '[null]'
        OR json_exists(request_object, '$[?@.op == "remove" && (
          search(@.path, "^/metadata/labels/(istio-injection|istio.io~1dataplane-mode)$")
          || search(@.path, "^/metadata/(labels|annotations)/linkerd.io~1inject$"))]'))))
