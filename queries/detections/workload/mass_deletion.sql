/*
id: K8A-525
title: One identity deletes very much
severity: high
attack: [T1485, T1499]
window: 10m
params: {objects: 40, volumes: 10, namespaces: 5, pods: 100}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [deployments, statefulsets, daemonsets, cronjobs, persistentvolumeclaims, persistentvolumes, services, ingresses, namespaces, pods], verbs: [delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} deleted {{objects}} workloads, {{volumes}} volumes, {{namespaces}} namespaces and {{pods}} pods within 10 minutes from {{source_ip}}"
false_positives: >-
  The end of an environment, a cluster that moves. Clean-up by programs with an account of their
  own does not count.
respond: >-
  Revoke the credential now if the person does not answer: this is how data is destroyed. Then see
  whether volumes still exist (their reclaim policy) and restore from backup.
*/
SELECT
  cluster, user_name, source_ip,
  count(DISTINCT concat_ws('/', resource, namespace, name))
    FILTER (WHERE resource NOT IN
      ('persistentvolumeclaims', 'persistentvolumes', 'namespaces', 'pods'))
    AS objects,
  count(DISTINCT concat_ws('/', resource, namespace, name))
    FILTER (WHERE resource IN ('persistentvolumeclaims', 'persistentvolumes')) AS volumes,
  count(DISTINCT name) FILTER (WHERE resource = 'namespaces') AS namespaces,
  count(DISTINCT concat_ws('/', namespace, name)) FILTER (WHERE resource = 'pods') AS pods,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource IN ('deployments', 'statefulsets', 'daemonsets', 'cronjobs', 'services', 'ingresses',
    'persistentvolumeclaims', 'persistentvolumes', 'namespaces', 'pods')
  AND subresource IS NULL AND verb IN ('delete', 'deletecollection')
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
GROUP BY cluster, user_name, source_ip
-- Each counts once, however often it is asked to go. A collection counts as one object: K8A-527.
HAVING count(DISTINCT concat_ws('/', resource, namespace, name))
    FILTER (WHERE resource NOT IN
      ('persistentvolumeclaims', 'persistentvolumes', 'namespaces', 'pods'))
    >= $objects
  OR count(DISTINCT concat_ws('/', resource, namespace, name))
    FILTER (WHERE resource IN ('persistentvolumeclaims', 'persistentvolumes')) >= $volumes
  OR count(DISTINCT name) FILTER (WHERE resource = 'namespaces') >= $namespaces
  OR count(DISTINCT concat_ws('/', namespace, name)) FILTER (WHERE resource = 'pods') >= $pods
