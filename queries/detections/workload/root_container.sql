/*
id: K8A-548
title: Container that runs as root or may become it
severity: informational
attack: [T1610]
controls: [WL-1, WL-3]
key: [user_name, namespace]
dedup: 1d
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{workload}} ({{images}}) as root, or free to raise its rights, by {{verb}} from {{source_ip}}"
false_positives: >-
  Images that were made for root; what says nothing of it does not count.
respond: >-
  Nothing at once. Set runAsNonRoot and allowPrivilegeEscalation: false, and a user in the image.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
    'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (json_exists(request_object, '$..[?@.securityContext.runAsUser == 0
      || @.securityContext.runAsNonRoot == false
      || @.securityContext.allowPrivilegeEscalation == true]')
    OR json_exists(request_object, '$[?(search(@.path, "/runAsUser$") && @.value == 0)
      || (search(@.path, "/runAsNonRoot$") && @.value == false)
      || (search(@.path, "/allowPrivilegeEscalation$") && @.value == true)
      || (search(@.path, "/securityContext$") && (@.value.runAsUser == 0
        || @.value.allowPrivilegeEscalation == true))]'))
