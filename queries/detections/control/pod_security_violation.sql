/*
id: K8A-606
title: Pod or workload admitted against a pod security standard
severity: informational
attack: [T1610]
controls: [WL-5]
key: [namespace, resource]
dedup: 24h
needs: {level: Metadata, resources: [pods, deployments, daemonsets, statefulsets, replicasets, jobs, cronjobs, replicationcontrollers], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} wrote {{resource}} {{object}} from {{source_ip}}, which was admitted against a standard: {{violations}}"
false_positives: >-
  Namespaces that are on their way to a stricter standard, which is what the label is for.
respond: Mend the workload, or enforce the standard once nothing violates it any more.
*/
SELECT
  cluster, user_name, source_ip, namespace, resource,
  concat_ws('/', namespace, coalesce(name, '(generated name)')) AS object,
  left(annotation(annotations, 'pod-security.kubernetes.io/audit-violations'), 400) AS violations
FROM events
WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets', 'jobs',
    'cronjobs', 'replicationcontrollers')
  AND verb IN ('create', 'update', 'patch')
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND annotations LIKE '%"pod-security.kubernetes.io/audit-violations"%'
