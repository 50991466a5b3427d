/*
id: K8A-611
title: What the cluster trusts or starts from changed by hand
severity: medium
attack: [T1557, T1565.001]
controls: [API-6]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [configmaps], verbs: [create, update, patch, delete], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform, control-setup]
describe: "{{user_name}}{{acting_as}} changed what the cluster trusts by {{verb}} of configmap {{namespace}}/{{name}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An upgrade by hand of a cluster that kubeadm does not manage. kubeadm and the controllers that own
  the objects are exempt by name and program.
respond: >-
  Compare the object with what it was. A changed authority (cluster-info, kube-root-ca.crt,
  extension-apiserver-authentication) lets somebody pose as the API server or as any user towards
  extension servers: put it back and restart what has read it.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'configmaps' AND api_group IS NULL AND subresource IS NULL
  AND verb IN ('create', 'update', 'patch', 'delete')
  AND ((namespace = 'kube-system' AND name IN ('extension-apiserver-authentication',
        'kubeadm-config', 'kube-proxy', 'kubelet-config'))
    OR (namespace = 'kube-public' AND name = 'cluster-info')
    -- The authority that pods trust. Whoever deletes all objects of a namespace deletes it too, and
    -- the controller brings it back.
    OR (name = 'kube-root-ca.crt' AND verb <> 'delete'))
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  -- Who sets a cluster up makes these objects, with the rights of its first administrator. A thing
  -- that is made where it was missing by somebody else is no installation.
  AND (response_code = 201 AND (has_group(user_groups, 'system:masters')
    OR has_group(user_groups, 'kubeadm:cluster-admins'))) IS NOT TRUE
