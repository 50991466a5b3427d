/*
id: K8A-126
title: New credential of system:masters used
severity: medium
attack: [T1078.003, T1098]
controls: [API-3, RBAC-2]
first_seen: {key: [user_name, credential_id], lookback: 60d, learn: 7d}
key: [user_name, credential_id]
dedup: 1d
exempt: [control-plane, cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} of system:masters came from {{source_ip}} ({{user_agent}}) to {{verb}} {{what}}, with credential {{credential}} that was never used before"
false_positives: >-
  Certificates that were renewed (kubeadm does so with each upgrade), the administrator's
  configuration of a managed cluster got anew.
respond: >-
  No rule can take rights from this group: find out who made the certificate. If nobody did, the
  cluster's authority was stolen, and has to be replaced.
*/
-- The group passes all authorization. Names of the control plane count too: who can sign
-- certificates signs them for whatever name is overlooked.
SELECT
  cluster, user_name, credential_id, source_ip, user_agent, verb,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what,
  coalesce(left(credential_id, 30), 'that has no id') AS credential
FROM events
WHERE has_group(user_groups, 'system:masters') AND stage = 'ResponseComplete'
  AND decision = 'allow'
