/*
id: K8A-653
title: Configuration of a sensor or log forwarder changed by hand
severity: low
attack: [T1685]
controls: [MON-1]
key: [user_name, impersonated_user, namespace]
needs: {level: Metadata, resources: [configmaps], verbs: [update, patch, delete], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud]
describe: "{{user_name}}{{acting_as}} changed what a sensor sees or sends by {{verb}} of configmap {{namespace}}/{{name}} from {{source_ip}}"
false_positives: Rules that are tuned by hand, and upgrades of charts by a person.
respond: >-
  Read the configuration as it is now (its contents are not recorded) and compare it with its
  source.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'configmaps' AND api_group IS NULL AND verb IN ('update', 'patch', 'delete')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  AND regexp_like(name, concat('^(.*-)?(falco|falco-rules|falco-config|fluent-?bit|',
    'fluent-bit-config|fluentd|fluentd-config|vector|filebeat-config|auditbeat-config|promtail|',
    'tetragon-config|kubearmor-config|alertmanager|alertmanager-config|prometheus-server)$'))
  -- Operators write the configuration of what they run.
  AND (user_name LIKE 'system:serviceaccount:%' AND impersonated_user IS NULL)
    IS NOT TRUE
