/*
id: K8A-618
title: Node registered by something else than its own kubelet
severity: low
attack: [T1036]
controls: [API-6]
key: [user_name, impersonated_user, node]
needs: {level: Metadata, resources: [nodes], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [cloud, platform, control-setup]
describe: "{{user_name}}{{acting_as}} registered node {{node}} from {{source_ip}} ({{user_agent}})"
false_positives: Virtual and simulated nodes; machines that an administrator registers by hand.
respond: >-
  See whether the machine is yours. Pods that were scheduled to a node that is not gave it their
  service accounts' tokens and secrets.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, name, coalesce(name, '?') AS node,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'nodes' AND api_group IS NULL AND subresource IS NULL
  -- An apply is a patch, also when it makes the object.
  AND (verb = 'create' OR (verb IN ('update', 'patch') AND response_code = 201))
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- A kubelet has its node's name. With another the API server refuses it, if it is so configured.
  AND (user_name = concat('system:node:', name)) IS NOT TRUE
