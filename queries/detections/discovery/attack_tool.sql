/*
id: K8A-705
title: Request of a tool made for attacks
severity: medium
attack: [T1613, T1046]
controls: [HUNT-1]
key: [user_name, source_ip, user_agent]
dedup: 6h
needs: {level: Metadata, stages: [ResponseStarted, ResponseComplete]}
describe: "{{who}} came from {{source_ip}} with {{user_agent}} to {{verb}} {{what}}, answered {{response_code}}"
false_positives: >-
  A test of security that was agreed upon. Strangers on the Internet who are denied do not count.
respond: >-
  Ask who tests. If nobody does, revoke the credential and find the machine or the pod. Who changes
  the tool's name is not seen here, but in what it asks for.
*/
SELECT
  cluster, decision_reason,
  user_name, source_ip, user_agent, verb, request_uri, response_code, pod_name,
  coalesce(user_name, 'somebody whose credential is not valid') AS who,
  coalesce(nullif(concat_ws('/', namespace, resource, subresource, name), ''), request_uri) AS what
FROM events
WHERE (regexp_like(user_agent,
    '(^|[^a-z])(kube-?hunter|peirates|rakkess|kubectl-access[_-]matrix|trufflehog|azurehound|bloodhound|kubehound|kubeletctl|kdigger|kubesploit|kubiscan|red-?kube|botb|deepce|cdk-team|nuclei|nmap|masscan|zgrab|gobuster|feroxbuster|ffuf|dirbuster|sqlmap|nikto|metasploit|hydra|kubestroyer|kube-?recon)([^a-z]|$)',
    'i')
  -- A name that is an attack on whoever reads logs: markup, lookups, control characters.
  OR regexp_like(user_agent, '<script|\$\{jndi:|[\x00-\x08\x0a-\x1f\x7f]|\\u0000', 'i'))
  -- The Internet scans what it reaches. Inside, and with a credential or success, it is news.
  AND (coalesce(user_name, 'system:anonymous') = 'system:anonymous'
    AND NOT private_ip(source_ip) AND (decision IS DISTINCT FROM 'allow')) IS NOT TRUE
  -- What everybody may see tells nothing of the asker.
  AND (user_name = 'system:anonymous' AND NOT private_ip(source_ip) AND resource IS NULL) IS NOT TRUE
  -- One stage of each request; a failed authentication has but one.
  AND (stage = 'RequestReceived') IS NOT TRUE
  AND ((verb = 'watch' OR subresource IN ('exec', 'attach', 'portforward', 'proxy', 'log'))
    AND stage = 'ResponseComplete') IS NOT TRUE
