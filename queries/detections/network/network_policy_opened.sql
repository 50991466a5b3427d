/*
id: K8A-609
title: Network policy deleted, or opened to everybody
severity: low
attack: [T1685, T1686.001]
controls: [NET-1]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [networkpolicies, globalnetworkpolicies, ciliumnetworkpolicies, ciliumclusterwidenetworkpolicies, clusternetworkpolicies, adminnetworkpolicies, baselineadminnetworkpolicies], verbs: [create, update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} opened the network by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: >-
  An application is removed together with its policies; somebody looks for a fault in the network.
respond: >-
  Put the policy back. Without one for them, pods of the namespace reach and are reached by all.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, api_group, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
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
  AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  AND (verb IN ('delete', 'deletecollection')
    -- A rule without peers and ports is everybody. For all pods, in a whole policy: that what some
    -- pods send goes anywhere, or what is meant for the world comes from anywhere, is usual.
    OR (verb IN ('create', 'update', 'patch') AND json_exists(request_object, '$.kind')
      AND json_exists(request_object, '$.spec.ingress[?!@.from && !@.ports]')
      AND json_exists(request_object, '$.spec.podSelector["matchLabels", "matchExpressions"]')
        IS NOT TRUE)
    -- Added to one that is there.
    OR (verb = 'patch' AND json_exists(request_object, '$.kind') IS NOT TRUE
      AND json_exists(request_object, '$.spec["ingress", "egress"][?
        !@.from && !@.to && !@.ports]'))
    OR json_exists(request_object, '$[?search(@.path, "^/spec/(ingress|egress)$")
      && @.value[?!@.from && !@.to && !@.ports]]')
    OR json_exists(request_object, '$[?search(@.path, "^/spec/(ingress|egress)/(-|[0-9]+)$")
      && @.value && !@.value.from && !@.value.to && !@.value.ports]')
    -- Taken from it: without its types, or for no pod.
    OR json_exists(request_object, '$[?search(@.path, "^/spec/policyTypes") && @.op == "remove"]'))
