/*
id: K8A-227
title: Service account given another cloud role
severity: medium
attack: [T1098.001, T1078.004]
controls: [CLD-1]
key: [user_name, namespace, name]
exempt: [cloud, gitops, platform]
needs: {level: Request, resources: [serviceaccounts], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} tied service account {{namespace}}/{{name}} to cloud identity {{role}} by {{verb}} from {{source_ip}}"
false_positives: >-
  A team that moves its workload to a cloud role by hand or by pipeline; the role itself must trust
  the account, so the cloud's side shows whether it was meant.
respond: >-
  Ask the person. If it was not them, put the annotation back, restart the account's pods, and look
  in the cloud's audit log for what the role did since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  coalesce(
    json_value(request_object, '$.metadata.annotations["eks.amazonaws.com/role-arn"]'),
    json_value(request_object, '$.metadata.annotations["iam.gke.io/gcp-service-account"]'),
    json_value(request_object, '$.metadata.annotations["azure.workload.identity/client-id"]'),
    json_value(request_object,
      '$[?search(@.path, "role-arn$|gcp-service-account$|client-id$")].value'),
    json_query(request_object, '$[*].value')) AS role,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
-- Of an account that is there. One that is made with its role is a deployment like others.
WHERE resource = 'serviceaccounts' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('update', 'patch') AND response_code = 200
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
  -- Operators in pods write what they manage.
  AND (impersonated_user IS NULL AND user_name LIKE 'system:serviceaccount:%'
    AND (pod_name IS NOT NULL OR (user_groups IS NULL AND private_ip(source_ip)))
    AND regexp_like(coalesce(user_agent, ''),
      '^(kubectl|oc|curl|[Ww]get|python-requests|[Pp]ython-urllib|HTTPie|PostmanRuntime)')
      IS NOT TRUE) IS NOT TRUE
  -- Server-side apply repeats the whole object with every deployment, and so tells of no change.
  AND (verb = 'patch' AND json_exists(request_object, '$.kind')) IS NOT TRUE
  AND (
    json_exists(request_object, '$.metadata.annotations["eks.amazonaws.com/role-arn"]')
    OR json_exists(request_object, '$.metadata.annotations["iam.gke.io/gcp-service-account"]')
    OR json_exists(request_object, '$.metadata.annotations["azure.workload.identity/client-id"]')
    -- A JSON patch: the annotation (its name's slash is ~1), or all of them.
    OR json_exists(request_object, '$[?(@.op == "add" || @.op == "replace") && (
      @.path == "/metadata/annotations/eks.amazonaws.com~1role-arn"
      || @.path == "/metadata/annotations/iam.gke.io~1gcp-service-account"
      || @.path == "/metadata/annotations/azure.workload.identity~1client-id"
      || (@.path == "/metadata/annotations" && (@.value["eks.amazonaws.com/role-arn"]
        || @.value["iam.gke.io/gcp-service-account"]
        || @.value["azure.workload.identity/client-id"])))]'))
