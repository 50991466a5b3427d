/*
id: K8A-622
title: Sensor, log forwarder or policy engine removed or stopped
severity: medium
attack: [T1685, T1685.002, T1489]
controls: [MON-1, IMG-3, API-5]
key: [user_name, impersonated_user, source_ip, namespace]
needs: {level: Metadata, resources: [daemonsets, deployments, statefulsets, deployments/scale, statefulsets/scale, namespaces], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform]
describe: "{{user_name}}{{acting_as}} {{what}} {{resource}} {{object}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  The sensor is replaced or moved by hand. A change of scale counts whatever the number where the
  audit policy does not record it (level Request for deployments/scale and statefulsets/scale).
respond: >-
  Bring it back first, then ask the person. What happened on the nodes meanwhile has no other
  witness: list what the same identity did before and after.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  CASE WHEN resource = 'namespaces' THEN name
    ELSE concat_ws('/', namespace, coalesce(name, '(all)')) END AS object,
  CASE WHEN verb IN ('delete', 'deletecollection') THEN 'deleted'
    WHEN subresource = 'scale' AND request_object IS NULL THEN 'changed the scale of'
    WHEN json_exists(request_object, '$.spec.template') THEN 'moved away from nodes'
    ELSE 'stopped' END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE verb IN ('update', 'patch', 'delete', 'deletecollection')
  AND resource IN ('daemonsets', 'deployments', 'statefulsets', 'namespaces')
  -- Done, not just allowed. kubectl asks for the dry run of a deletion in the body.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND json_exists(request_object, '$.dryRun[0]') IS NOT TRUE
  AND ((resource = 'namespaces' AND verb = 'delete' AND regexp_like(name,
      concat('^(falco|fluent-?bit|fluentd|logging|kube-logging|tetragon|kubearmor|sysdig-agent|',
        'stackrox|datadog|falcon-system|monitoring|observability|prometheus|trivy-system|kyverno|',
        'gatekeeper-system|amazon-guardduty|auditmill)$')))
    OR (resource <> 'namespaces' AND verb = 'deletecollection' AND regexp_like(namespace,
      concat('^(falco|fluent-?bit|fluentd|logging|kube-logging|tetragon|kubearmor|sysdig-agent|',
        'stackrox|datadog|falcon-system|monitoring|observability|prometheus|trivy-system|kyverno|',
        'gatekeeper-system|amazon-guardduty|auditmill)$')))
    OR (resource IN ('daemonsets', 'deployments', 'statefulsets') AND api_group = 'apps'
      AND regexp_like(name, concat(
        '^(.*-)?(falco|falcosidekick|fluent-?bit|fluentd?|fluentd-.*|vector|filebeat|',
        'auditbeat|promtail|tetragon|kubearmor|tracee|sysdig|datadog|falcon-sensor|wazuh|',
        'collector-ds|stackrox-.*|aws-guardduty-agent|twistlock-defender.*|prometheus|',
        'prometheus-server|prometheus-operator|node-exporter|kube-state-metrics|alertmanager|',
        'trivy-operator|otel-collector.*|opentelemetry-collector.*|auditmill|',
        'kyverno-.*-controller|gatekeeper-(audit|controller-manager))',
        '(-ds|-daemonset|-(node-|cluster-)?agent|-node|-collector|-sensor|-k8s-metacollector)?$'))
      AND ((verb = 'delete' AND subresource IS NULL)
        -- To what is not recorded: autoscalers do it all day.
        OR (verb IN ('update', 'patch') AND subresource = 'scale' AND request_object IS NULL
          AND NOT user_name LIKE '%autoscaler' AND NOT user_name LIKE '%:keda-operator')
        -- To nothing, in any form of writing.
        OR (verb IN ('update', 'patch') AND json_value(request_object, '$.spec.replicas') = '0')
        OR (verb = 'patch' AND json_exists(request_object,
          '$[?@.path == "/spec/replicas" && @.value == 0]'))
        -- A set of daemons has no scale: it is stopped by a selector that no node fulfils. An
        -- object that is applied as a whole has its containers, too.
        OR (resource = 'daemonsets' AND verb = 'patch' AND subresource IS NULL
          AND (json_exists(request_object,
              '$.spec.template.spec["nodeSelector", "affinity"]')
            OR json_exists(request_object,
              '$[?search(@.path, "^/spec/template/spec/(nodeSelector|affinity)")]'))
          AND json_exists(request_object, '$.spec.template.spec.containers') IS NOT TRUE))))
