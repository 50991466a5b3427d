/*
id: K8A-104
title: Rights given to everybody
severity: high
attack: [T1098.006, T1078.001]
controls: [RBAC-2, API-1]
key: [resource, binding]
exempt: [control-plane, cloud]
needs: {level: Request, resources: [clusterrolebindings, rolebindings], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} gave {{role}} to {{everybody}} by {{verb}} of {{resource}} {{binding}} from {{source_ip}}"
false_positives: >-
  Products whose rights are meant for all who have logged in (KubeVirt, an OpenShift cluster's own),
  once when they are installed. On GKE, system:authenticated is everybody with a Google account.
respond: >-
  Delete the binding unless its owner confirms it, then look for anonymous requests that were
  allowed since, and for who used the role.
*/
-- An existing binding that is changed in another part (a label) does not name its subjects in the
-- request, so the request alone tells who is added.
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(response_object, '$.metadata.name')))
    AS binding,
  coalesce(json_value(request_object, '$.roleRef.name'),
    json_value(response_object, '$.roleRef.name'), 'a role') AS role,
  CASE
    WHEN json_exists(request_object, '$..[?@ == "system:anonymous" || @.name == "system:anonymous"]')
    THEN 'system:anonymous'
    WHEN json_exists(request_object,
      '$..[?@ == "system:unauthenticated" || @.name == "system:unauthenticated"]')
    THEN 'system:unauthenticated'
    ELSE 'system:authenticated' END AS everybody
FROM events
WHERE resource IN ('clusterrolebindings', 'rolebindings')
  AND api_group = 'rbac.authorization.k8s.io'
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed: the API server refuses an escalation after authorization; dry runs.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- A whole object, or a patch that gives the list.
    json_exists(request_object, '$.subjects[?@.name == "system:anonymous"
      || @.name == "system:unauthenticated" || @.name == "system:authenticated"]')
    -- A JSON patch: one more subject, the list anew, or the name of one.
    OR json_exists(request_object, '$[?search(@.path, "^/subjects") && (
      @.value == "system:anonymous" || @.value == "system:unauthenticated"
        || @.value == "system:authenticated" || @.value.name == "system:anonymous"
        || @.value.name == "system:unauthenticated" || @.value.name == "system:authenticated"
        || @.value[?@.name == "system:anonymous" || @.name == "system:unauthenticated"
          || @.name == "system:authenticated"])]'))
  -- What Kubernetes itself gives to everybody: who am I, what is there, which version.
  AND (coalesce(json_value(request_object, '$.roleRef.name'),
      json_value(response_object, '$.roleRef.name'))
    IN ('system:basic-user', 'system:discovery', 'system:public-info-viewer')) IS NOT TRUE
  -- What is in kube-public is for everybody: kubeadm publishes how to join there.
  AND (namespace IS DISTINCT FROM 'kube-public')
