/*
id: K8A-643
title: Where secrets come from changed by hand
severity: low
attack: [T1552, T1556]
controls: [SEC-2]
key: [user_name, impersonated_user, source_ip, namespace]
needs: {level: Metadata, resources: [secretstores, clustersecretstores, secretproviderclasses, vaultauths, vaultconnections, clustergenerators], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} changed from where the cluster takes secrets by {{verb}} of {{resource}} {{object}} from {{source_ip}}"
false_positives: A store that is moved by hand.
respond: >-
  Read the object as it is now (its contents are not recorded). A store that leads elsewhere gives
  the cluster secrets of another, and shows it with which credentials it asks.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, '(all)')) AS object,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource IN ('secretstores', 'clustersecretstores', 'secretproviderclasses', 'vaultauths',
    'vaultconnections', 'clustergenerators')
  AND api_group IN ('external-secrets.io', 'secrets-store.csi.x-k8s.io', 'secrets.hashicorp.com',
    'generators.external-secrets.io')
  AND verb IN ('update', 'patch', 'delete', 'deletecollection') AND subresource IS NULL
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- An apply that makes the object is no change of it.
  AND (verb = 'patch' AND response_code = 201) IS NOT TRUE
