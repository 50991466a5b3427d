/*
id: K8A-527
title: Whole collection of objects deleted at once
severity: medium
attack: [T1485]
key: [user_name, resource, namespace]
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [configmaps, pods, services, serviceaccounts, persistentvolumeclaims, persistentvolumes, deployments, statefulsets, daemonsets, replicasets, jobs, cronjobs, ingresses, resourcequotas, limitranges], verbs: [deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} deleted all {{resource}} of {{scope}}{{selected}} in one request from {{source_ip}} ({{user_agent}})"
false_positives: >-
  Scripts that clear away what a label selects. kubectl does not delete so, it asks for each
  object; programs with an account of their own do and do not count.
respond: >-
  Ask the person. If it was not them, revoke the credential and restore from backup; see what was
  deleted by the events of the garbage collector.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  coalesce(namespace, 'the whole cluster') AS scope,
  CASE WHEN url_param(request_uri, 'labelSelector') IS NULL THEN ''
    ELSE concat(' with ', url_param(request_uri, 'labelSelector')) END AS selected
FROM events
-- Secrets are told by K8A-211, network policies by K8A-644.
WHERE resource IN ('configmaps', 'pods', 'services', 'serviceaccounts',
    'persistentvolumeclaims', 'persistentvolumes', 'deployments', 'statefulsets', 'daemonsets',
    'replicasets', 'jobs', 'cronjobs', 'ingresses', 'resourcequotas', 'limitranges')
  AND verb = 'deletecollection'
  -- Without credentials it is K8A-102.
  AND (user_name = 'system:anonymous') IS NOT TRUE
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
