/*
id: K8A-637
title: Reads of secrets or configmaps are no longer recorded
severity: medium
attack: [T1685.002]
controls: [API-5, SEC-1]
absent: {key: [resource], for: 2h}
needs: {level: Metadata, resources: [secrets, configmaps], verbs: [watch], stages: [ResponseStarted]}
describe: "the last watch of {{resource}} was recorded at {{event_time}} for {{user_name}}, and then none for two hours, though kubelets and controllers renew theirs every few minutes"
false_positives: >-
  The cluster was switched off. One in which nothing reads them: no node, no workload.
respond: >-
  Compare the API server's audit policy with yours: somebody may have told it to leave these out.
  Who reads secrets is unseen since.
*/
SELECT cluster, resource, user_name, source_ip, event_time
FROM events
WHERE resource IN ('secrets', 'configmaps') AND api_group IS NULL AND verb = 'watch'
  AND stage = 'ResponseStarted' AND response_code = 200
  -- People watch now and then.
  AND user_name LIKE 'system:%'
