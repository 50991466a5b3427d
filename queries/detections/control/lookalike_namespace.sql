/*
id: K8A-632
title: Namespace made whose name looks like one of the system's
severity: medium
attack: [T1036.005]
controls: [RBAC-6]
key: [user_name, impersonated_user, name]
needs: {level: Metadata, resources: [namespaces], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} made namespace {{name}}, which looks like {{original}}, from {{source_ip}} ({{user_agent}})"
false_positives: A slip of the hand, or a copy for a test.
respond: >-
  Ask the person. See what runs in it: names like the system's are there to be passed over, by
  people and by exceptions.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, name,
  CASE WHEN levenshtein(name, 'kube-public') <= 2 THEN 'kube-public'
    WHEN levenshtein(name, 'kube-node-lease') <= 2 THEN 'kube-node-lease'
    ELSE 'kube-system' END AS original,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'namespaces' AND api_group IS NULL AND subresource IS NULL
  -- An apply is a patch, also when it makes the object.
  AND (verb = 'create' OR (verb IN ('update', 'patch') AND response_code = 201))
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND name NOT IN ('kube-system', 'kube-public', 'kube-node-lease')
  -- Up to two letters from it, or its words with something between or behind.
  AND (levenshtein(name, 'kube-system') <= 2 OR levenshtein(name, 'kube-public') <= 2
    OR levenshtein(name, 'kube-node-lease') <= 2
    OR regexp_like(name,
      '^(kubernetes-system|kube-?sys(tem)?-?[0-9a-z]{0,3}|k8s-system|kube--system)$'))
