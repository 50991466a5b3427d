/*
id: K8A-652
title: Exception from policies granted by hand
severity: low
attack: [T1685]
controls: [WL-6]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [policyexceptions, configs], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} granted an exception from policies by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: The way exceptions are granted where no delivery tool does it.
respond: Ask who approved it; see what was created in the namespace since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, name) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
-- Of Kyverno an object each; of Gatekeeper the list of namespaces that it does not look at.
WHERE ((resource = 'policyexceptions' AND api_group IN ('kyverno.io', 'policies.kyverno.io'))
    OR (resource = 'configs' AND api_group = 'config.gatekeeper.sh'))
  AND verb IN ('create', 'update', 'patch') AND subresource IS NULL
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
