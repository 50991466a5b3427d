/*
id: K8A-623
title: Cluster sends no audit events any more
severity: high
attack: [T1685.002]
controls: [API-5]
silent: {for: 15m}
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "the last audit event of cluster {{cluster}} was {{verb}} of {{request_uri}} by {{who}}, and nothing came for a quarter of an hour"
false_positives: >-
  The cluster is switched off, or a log was sent once to try this. A sender that collects for longer
  than a quarter of an hour before it sends.
respond: >-
  Look whether the API server runs, and with which audit flags (--audit-policy-file,
  --audit-webhook-config-file, or the cloud's setting); then whether what forwards the log does. If
  somebody turned it off, everything since is unseen: take their credential away first.
*/
-- Any event is a sign of life: components watch and renew all the time, so that a cluster in which
-- nothing happens sends some every few minutes all the same.
SELECT cluster, verb, request_uri, user_agent, coalesce(user_name, 'nobody') AS who
FROM events
WHERE stage = 'ResponseComplete'
