/*
id: K8A-520
title: Workload pinned to the nodes of the control plane
severity: low
attack: [T1610]
controls: [API-6]
key: [user_name, resource, workload]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} put {{resource}} {{workload}} ({{images}}) on the nodes of the control plane by {{verb}} from {{source_ip}}"
false_positives: >-
  Add-ons that belong there: controllers of a cloud, backups of etcd. Those in kube-system do not
  count.
respond: >-
  On these nodes are etcd, the keys of the cluster and the API server's credentials. Ask why it
  must be there; with a path of the node or privileges it is an emergency (K8A-501, K8A-505).
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  translate(json_query(request_object,
    '$..["initContainers", "containers", "ephemeralContainers"][*].image'), ',[]"', ' ') AS images
FROM events
WHERE resource IN ('pods', 'deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
    'jobs', 'cronjobs', 'podtemplates')
  -- No daemon sets: agents of the node are told by K8A-541, for information.
  AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (namespace IS DISTINCT FROM 'kube-system')
  -- Wanted there, not only tolerated there, as add-ons are everywhere: by label, or by name past
  -- the scheduler. The name is a guess: nodes of the control plane are mostly called so.
  AND (json_exists(request_object, '$..nodeSelector[
      "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"]')
    OR json_exists(request_object, '$..nodeSelectorTerms[*].matchExpressions[?
      search(@.key, "node-role.kubernetes.io/(control-plane|master)")
      && @.operator != "DoesNotExist" && @.operator != "NotIn"]')
    OR json_exists(request_object, '$..[?search(@.nodeName, "control-plane|controlplane|master")]')
    OR json_exists(request_object, '$[?
      (search(@.path, "/nodeSelector/node-role.kubernetes.io~1(control-plane|master)$"))
      || (search(@.path, "/nodeSelector$") && (
        @.value["node-role.kubernetes.io/control-plane"] == ""
        || @.value["node-role.kubernetes.io/master"] == ""))
      || (search(@.path, "/nodeName$") && search(@.value, "control-plane|controlplane|master"))]'))
