/*
id: K8A-302
title: Privileged role bound for the whole cluster or its core
severity: medium
attack: [T1098.006]
controls: [RBAC-2]
key: [user_name, resource, binding]
exempt: [control-plane, cloud, gitops, rbac-writers, rbac-installers]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} bound {{role}} to {{subjects}} by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: >-
  A platform team that gives its own people admin or edit everywhere, once when it sets that up.
respond: >-
  Whoever has edit in every namespace reads every secret and can run as any service account. Ask who
  wrote the binding why; if there is no good answer delete it and see what its subjects did since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, credential_id, source_ip, user_agent, verb,
  resource, namespace,
  coalesce(name, json_value(response_object, '$.metadata.name')) AS name,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  coalesce(json_value(request_object, '$.roleRef.name'),
    json_value(response_object, '$.roleRef.name')) AS role,
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
  -- admin and edit in one namespace are how people are let in. In all of them, or where the cluster's
  -- own components run, they lead to everything.
  AND (resource = 'clusterrolebindings' OR namespace IN ('kube-system', 'kube-public',
  'kube-node-lease'))
  -- Roles of the control plane's own parts read all secrets or write all pods; nobody else needs
  -- them. The two platforms' roles are as good as cluster-admin. cluster-admin is K8A-301's.
  AND regexp_like(
    coalesce(json_value(request_object, '$.roleRef.name'),
      json_value(response_object, '$.roleRef.name')),
    concat('^(admin|edit|system:(aggregate-to-(admin|edit)|node|kube-controller-manager',
      '|kubelet-api-admin|controller:.*)|argocd-application-controller|tigera-operator|cattle-admin)$'))
  AND (json_exists(request_object, '$.subjects') OR json_exists(request_object, '$.roleRef')
    OR json_exists(request_object, '$[?search(@.path, "^/(subjects|roleRef)")
      && @.op != "remove" && @.op != "test"]'))
  -- The parts of such platforms themselves: an account with the role that bears its name.
  AND json_exists(coalesce(response_object, request_object),
    '$.subjects[?@.kind != "ServiceAccount"
      || !search(@.namespace, "^(argocd?|tigera-operator|cattle-system)$")]')
