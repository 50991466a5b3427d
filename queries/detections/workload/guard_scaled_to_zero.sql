/*
id: K8A-528
title: Security or core component switched off
severity: medium
attack: [T1685, T1489]
controls: [MON-1, WL-6]
key: [user_name, resource, namespace, name]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Request, resources: [deployments, deployments/scale, statefulsets, statefulsets/scale, replicasets, replicasets/scale, replicationcontrollers, replicationcontrollers/scale, daemonsets], verbs: [update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} switched {{resource}} {{namespace}}/{{name}} off by {{verb}} from {{source_ip}}"
false_positives: >-
  Maintenance of the component, and tests of what happens without it.
respond: >-
  Scale it up again, or take the node selector away, then ask. What happened in between was not
  seen, not checked or not resolved: look at this identity's other requests since.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, subresource,
  namespace, name
FROM events
WHERE resource IN ('deployments', 'statefulsets', 'replicasets', 'replicationcontrollers',
    'daemonsets')
  AND (subresource IS NULL OR subresource = 'scale')
  AND verb IN ('update', 'patch')
  -- Done, not just allowed: admission may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  -- What belongs to the cluster, or by its name watches, checks or logs. An autoscaler is stopped
  -- for every upgrade.
  AND (name LIKE '%autoscaler%') IS NOT TRUE
  AND (namespace = 'kube-system' OR regexp_like(concat_ws('/', namespace, name),
    '(^|[^a-z])(falco|falcosidekick|tetragon|sysdig|tracee|kubearmor|wazuh|crowdstrike|'
      || 'gatekeeper|kyverno|opa|kubewarden|cert-manager|coredns|kube-dns|'
      || 'metrics-server|prometheus|alertmanager|fluentd|fluentbit|fluent|filebeat|'
      || 'promtail|otel|opentelemetry|datadog|dynatrace|trivy|kubescape|neuvector|'
      || 'stackrox|twistlock|wiz-sensor|lacework|cilium|calico|tigera|istiod|'
      || 'linkerd|external-secrets|velero)([^a-z]|$)'))
  AND (
    json_value(request_object, '$.spec.replicas') = '0'
    OR json_exists(request_object, '$[?search(@.path, "/replicas$") && @.value == 0]')
    -- A daemon set has no replicas: a label that no node has does the same. Only a patch of
    -- nothing else, for a new version may bring a selector along.
    OR (resource = 'daemonsets' AND verb = 'patch'
      AND (json_exists(request_object, '$.spec.template.spec.nodeSelector')
        OR json_exists(request_object, '$[?search(@.path, "/nodeSelector(/[^/]*)?$")]'))
      AND NOT json_exists(request_object, '$..image')))
