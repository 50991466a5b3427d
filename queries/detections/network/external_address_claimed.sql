/*
id: K8A-615
title: Service claims external addresses
severity: medium
attack: [T1557]
controls: [NET-2]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [services, services/status], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} had service {{namespace}}/{{name}} take connections to {{addresses}} by {{verb}} from {{source_ip}}"
false_positives: Clusters on machines without a load balancer, whose addresses are shared out so.
respond: >-
  Unless the address belongs to the cluster, remove it: every pod's connections to it end at the
  service (CVE-2020-8554). Look at what the service's pods have got, and who owns them. Forbid
  externalIPs by admission.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, subresource, namespace, name,
  CASE WHEN subresource = 'status' THEN 'addresses in its status' ELSE
    translate(coalesce(nullif(json_query(request_object, '$.spec.externalIPs[*]'), '[]'),
      json_query(request_object, '$[?search(@.path, "^/spec/externalIPs")].value')), '[]"', '')
    END AS addresses,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'services' AND api_group IS NULL AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND ((subresource IS NULL AND (json_exists(request_object, '$.spec.externalIPs[0]')
      OR json_exists(request_object,
        '$[?search(@.path, "^/spec/externalIPs") && @.op != "remove"]')))
    -- The status is for the controllers of load balancers. Its body is not recorded.
    OR (subresource = 'status' AND verb IN ('update', 'patch')
      AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
        IS NOT TRUE))
  -- Operators and their like write whole objects again and again.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL
    AND verb = 'update') IS NOT TRUE
