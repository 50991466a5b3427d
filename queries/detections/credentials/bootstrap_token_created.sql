/*
id: K8A-219
title: Bootstrap token made by which a node may join
severity: medium
attack: [T1098, T1136.001]
controls: [SA-2, API-3]
key: [user_name, name]
exempt: [cloud, credentials-administration]
needs: {level: Metadata, resources: [secrets], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} wrote bootstrap token {{name}} by {{verb}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Nodes being added with a kubeconfig that is not the administrator's own; operators of Cluster API.
respond: >-
  Ask the person. If it was not them, delete the secret, deny and delete the certificate requests of
  users system:bootstrap:*, and look for nodes that you do not know.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  credential_id,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
-- The name makes it one: the authenticator looks for it by name, here and nowhere else.
WHERE resource = 'secrets' AND api_group IS NULL AND namespace = 'kube-system'
  AND name LIKE 'bootstrap-token-%' AND verb IN ('create', 'update', 'patch')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND NOT is_system_user(user_name)
