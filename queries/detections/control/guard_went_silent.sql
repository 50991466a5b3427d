/*
id: K8A-624
title: Sensor or policy engine no longer talks to the API server
severity: medium
attack: [T1685]
controls: [MON-1, API-5]
absent: {key: [user_name], for: 1h}
needs: {level: Metadata, resources: [leases, namespaces, pods], verbs: [update, patch, watch], stages: [ResponseStarted, ResponseComplete]}
describe: "{{user_name}} renewed its leases and watches until {{event_time}}, last from {{source_ip}} with {{verb}} of {{resource}}, and then no more for an hour"
false_positives: It was removed, or renamed by an upgrade; all of the cluster was down.
respond: >-
  See whether its pods run and are ready, and who deleted, scaled or blocked them. A policy engine
  that is gone lets everything pass, or blocks everything.
*/
SELECT cluster, user_name, source_ip, verb, resource, event_time
FROM events
-- What it does every few minutes whether or not anything happens: jobs of a chart, which come and
-- go under accounts of their own, do neither.
WHERE ((verb IN ('update', 'patch') AND resource = 'leases' AND response_code = 200)
    OR (verb = 'watch' AND stage = 'ResponseStarted' AND response_code = 200))
  AND user_name LIKE 'system:serviceaccount:%'
  AND regexp_like(user_name,
    concat('^system:serviceaccount:[^:]+:.*(falco|tetragon|kubearmor|tracee|kyverno|',
      'gatekeeper|kubewarden|trivy|sysdig|stackrox|datadog|fluent|vector|filebeat|promtail|',
      'prometheus|guardduty|wazuh)'))
