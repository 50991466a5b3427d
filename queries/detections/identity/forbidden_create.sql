/*
id: K8A-111
title: Creation of something powerful was denied
severity: informational
attack: [T1610, T1098.006]
controls: [API-4]
key: [user_name, resource, namespace]
dedup: 6h
exempt: [control-plane, cloud]
needs: {level: Metadata, resources: [pods, deployments, daemonsets, statefulsets, jobs, cronjobs, serviceaccounts/token, certificatesigningrequests, roles, clusterroles, rolebindings, clusterrolebindings, mutatingwebhookconfigurations, validatingwebhookconfigurations], verbs: [create], stages: [ResponseComplete]}
describe: "{{user_name}} was denied to create {{what}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  The wrong namespace or context, daily. It counts as part of what one identity did.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, resource, subresource, namespace,
  concat_ws('/', namespace, resource, subresource) AS what, response_message
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'jobs', 'cronjobs',
    'serviceaccounts', 'certificatesigningrequests', 'roles', 'clusterroles', 'rolebindings',
    'clusterrolebindings', 'mutatingwebhookconfigurations', 'validatingwebhookconfigurations')
  AND verb = 'create' AND response_code = 403 AND stage = 'ResponseComplete'
  -- Denied by authorization. What admission refused was allowed.
  AND decision = 'forbid'
  -- Sessions are told of elsewhere; of service accounts only tokens are worth a word.
  AND (subresource IS NULL AND resource <> 'serviceaccounts'
    OR subresource = 'token' AND resource = 'serviceaccounts')
  AND NOT is_system_user(user_name) AND user_name <> 'system:anonymous'
