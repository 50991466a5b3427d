/*
id: K8A-644
title: Many network policies deleted by one identity
severity: medium
attack: [T1685, T1686.001]
controls: [NET-1]
window: 10m
params: {policies: 5}
needs: {level: Metadata, resources: [networkpolicies, globalnetworkpolicies, ciliumnetworkpolicies, ciliumclusterwidenetworkpolicies, clusternetworkpolicies, adminnetworkpolicies, baselineadminnetworkpolicies], verbs: [delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}} deleted {{policies}} network policies and {{collections}} times all of a namespace, from {{first_object}} on, from {{source_ip}}"
false_positives: >-
  Several applications are removed at once; the network is moved to another kind of policy.
respond: >-
  Put the policies back from their source, and look at what connects to where since. Ask the person;
  if it was not them, revoke the credential.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip,
  count(DISTINCT concat_ws('/', api_group, namespace, name)) FILTER (WHERE verb = 'delete')
    AS policies,
  count(*) FILTER (WHERE verb = 'deletecollection') AS collections,
  min(concat_ws('/', namespace, coalesce(name, '(all)'))) AS first_object,
  max(decision_reason) AS decision_reason
FROM events
WHERE ((resource = 'networkpolicies' AND api_group IN ('networking.k8s.io', 'crd.projectcalico.org',
        'projectcalico.org', 'crd.antrea.io'))
    OR (resource = 'globalnetworkpolicies'
      AND api_group IN ('crd.projectcalico.org', 'projectcalico.org'))
    OR (resource IN ('ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies')
      AND api_group = 'cilium.io')
    OR (resource = 'clusternetworkpolicies'
      AND api_group IN ('crd.antrea.io', 'policy.networking.k8s.io'))
    OR (resource IN ('adminnetworkpolicies', 'baselineadminnetworkpolicies')
      AND api_group = 'policy.networking.k8s.io'))
  AND verb IN ('delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
GROUP BY cluster, user_name, impersonated_user, source_ip
HAVING count(DISTINCT concat_ws('/', api_group, namespace, name)) FILTER (WHERE verb = 'delete')
    >= $policies
  OR count(*) FILTER (WHERE verb = 'deletecollection') >= 1
