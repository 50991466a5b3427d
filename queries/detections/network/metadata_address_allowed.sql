/*
id: K8A-650
title: Pods were allowed to reach the metadata of their node
severity: low
attack: [T1552.005]
controls: [NET-4]
key: [user_name, impersonated_user, namespace]
needs: {level: Request, resources: [networkpolicies], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} allowed pods the address of the node's metadata by {{verb}} of network policy {{namespace}}/{{name}} from {{source_ip}}"
false_positives: Agents that take the node's identity from there by design.
respond: >-
  Ask why. From that address pods get the credentials of the machine's role in the cloud; give them
  an identity of their own instead.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'networkpolicies' AND api_group = 'networking.k8s.io' AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- As a peer of its own. That a wider range leaves it out is what `except` says.
  AND (json_exists(request_object,
      '$.spec.egress[*].to[?search(@.ipBlock.cidr, "^(169\\.254\\.|fd00:ec2::254/)")]')
    OR json_exists(request_object, '$[?search(@.path, "^/spec/egress")]..ipBlock[?
      search(@, "^(169\\.254\\.|fd00:ec2::254/)")]'))
