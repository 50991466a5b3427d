/*
id: K8A-113
title: Service account used with a tool it was never used with
severity: low
attack: [T1078, T1528, T1059.013]
controls: [MON-2]
first_seen: {key: [user_name, program], lookback: 30d, learn: 7d}
key: [user_name, program]
dedup: 1d
exempt: [control-plane, cloud]
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{user_name}} was used with {{user_agent}} from {{source_ip}} to {{verb}} {{what}}, for the first time in 30 days"
false_positives: >-
  A new job that works with kubectl or a script, under an account that is new as well.
respond: >-
  Ask the owner. A token that kubectl or curl uses now and a program used until now was copied out
  of its pod, or made by somebody: see tokens made for the account, and who entered the pod.
*/
-- Tools of people and scripts only: programs of workloads change their names with every release,
-- and new accounts come with new programs.
SELECT
  cluster, user_name, source_ip, user_agent, verb, pod_name, credential_id,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what,
  lower(regexp_replace(user_agent, '[/ (].*$', '')) AS program
FROM events
WHERE user_name LIKE 'system:serviceaccount:%' AND stage = 'ResponseComplete'
  AND decision IS NOT NULL
  AND regexp_like(user_agent,
    '^(kubectl|oc|curl|wget|helm|k9s|lens|httpie|python-requests|python-urllib|powershell|mozilla|ruby|perl)',
    'i')
