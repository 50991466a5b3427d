/*
id: K8A-130
title: Service account token used after its time
severity: informational
attack: [T1528]
controls: [API-3, SA-2]
key: [user_name, pod_name]
dedup: 1d
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} used a token of pod {{pod}} after its time to {{verb}} {{resource}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  A client too old to read its token again (client-go before 0.15). It stops to work when the
  extension of such tokens is turned off; a thief's copy looks the same.
*/
-- Tokens in pods are valid for an hour and accepted for a year, for old clients. The API server
-- notes when one is used in the time between.
SELECT
  cluster, user_name, source_ip, user_agent, verb, resource, namespace, pod_name, credential_id,
  coalesce(pod_name, 'unknown') AS pod
FROM events
WHERE annotation(annotations, 'authentication.k8s.io/stale-token') IS NOT NULL
  AND user_name LIKE 'system:serviceaccount:%' AND stage = 'ResponseComplete'
