/*
id: K8A-301
title: Binding to cluster-admin written
severity: high
attack: [T1098.006]
controls: [RBAC-2]
key: [user_name, resource, binding]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers, rbac-first-administrators]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} bound cluster-admin to {{subjects}} by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: >-
  The installation of a cluster or of a platform component; on GKE, the first step of many guides. A
  delivery tool that writes all its objects again shows its existing bindings once; exempt it by
  user and binding.
respond: >-
  Delete the binding unless its owner confirms it, then look for what its subjects did since and for
  further grants by the same identity.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  -- As words, for a sentence: `User mallory`.
  translate(
    coalesce(nullif(json_query(request_object, '$.subjects[*]["kind", "namespace", "name"]'), '[]'),
      json_query(response_object, '$.subjects[*]["kind", "namespace", "name"]'), 'subjects not recorded'),
    ',[]"', ' ') AS subjects
FROM events
WHERE resource IN ('clusterrolebindings', 'rolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: admission, validation or a conflict may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- `$[?...]` is roleRef here, the one member with both. A patch that adds a subject need not name
  -- the role: the answer does (unless the client asked for metadata only), or the binding's name.
  AND (json_exists(request_object, '$[?@.name == "cluster-admin" && @.kind == "ClusterRole"]')
    OR json_exists(response_object, '$[?@.name == "cluster-admin" && @.kind == "ClusterRole"]')
    OR (resource = 'clusterrolebindings' AND name = 'cluster-admin'))
  -- A patch of a label or an annotation gives nobody anything. The API server's own default
  -- bindings are recorded without bodies, and its account is in the list control-plane.
  AND (json_exists(request_object, '$.subjects') OR json_exists(request_object, '$.roleRef')
    OR json_exists(request_object, '$[?search(@.path, "^/(subjects|roleRef)")
      && @.op != "remove" && @.op != "test"]'))
