/*
id: K8A-804
title: Service account given powerful rights, and its token taken away
severity: high
attack: [T1136, T1098.006, T1528]
controls: [MON-3, SA-2, RBAC-2]
over: findings
window: 1h
slide: 6m
dedup: 1d
key: [user_name, account]
describe: "{{user_name}} gave service account {{account}} powerful rights and took a token of it from {{source_ip}}: {{grant}}"
false_positives: >-
  Guides for dashboards end like this: an account admin-user, bound to cluster-admin, with a token to
  log in with. It is as dangerous as it looks.
respond: >-
  Delete the account, which ends its tokens, and the binding. Then see what the account did: its token
  works from anywhere, and outlives the credential of whoever made it.
*/
-- One identity, and one account: bound (K8A-305 tells of each account that is), its token asked for
-- (K8A-212, K8A-213) or put into a secret of its namespace (K8A-215). And something powerful written by
-- the same identity, a binding or the role for it: accounts for pipelines, with just the rights that they
-- need, are made in the same way.
SELECT
  bound.cluster, bound.user_name, json_value(bound.row, '$.subjects') AS account,
  min(bound.source_ip) AS source_ip, min(bound.credential_id) AS credential_id,
  -- Of several powerful ones, the one about this binding.
  CASE WHEN min(CASE WHEN power.name = bound.name THEN power.summary END) IS NULL THEN
  min(power.summary)
    ELSE min(CASE WHEN power.name = bound.name THEN power.summary END) END AS grant,
  min(token.summary) AS taken
FROM findings AS bound
JOIN findings AS token ON token.cluster = bound.cluster AND token.user_name = bound.user_name
JOIN findings AS power ON power.cluster = bound.cluster AND power.user_name = bound.user_name
WHERE bound.detection = 'K8A-305'
  AND ((token.detection IN ('K8A-212', 'K8A-213')
      AND strpos(concat(' ', json_value(bound.row, '$.subjects'), ' '),
        concat(' ', token.namespace, ' ', token.name, ' ')) > 0)
    OR (token.detection = 'K8A-215'
      AND strpos(concat(' ', json_value(bound.row, '$.subjects')), concat(' ', token.namespace, ' ')) > 0))
  AND json_value(power.attack, '$[0]') = 'T1098.006' AND power.severity IN ('medium', 'high',
  'critical')
GROUP BY bound.cluster, bound.user_name, json_value(bound.row, '$.subjects')
