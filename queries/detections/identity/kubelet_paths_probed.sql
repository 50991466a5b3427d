/*
id: K8A-131
title: Paths of a kubelet asked for without credentials
severity: low
attack: [T1613, T1190]
controls: [API-1, HUNT-1]
key: [source_ip]
dedup: 6h
needs: {level: Metadata, stages: [ResponseComplete]}
describe: "{{source_ip}} ({{user_agent}}) asked for {{request_uri}} without credentials, as scanners for open kubelets do; answered {{response_code}}"
false_positives: >-
  Scanners on the Internet, and your own. A monitor that is pointed at the API server in place of
  kubelets has a credential, and asks for metrics only.
respond: >-
  From inside: find the machine and what runs there. See that kubelets refuse anonymous requests.
*/
SELECT cluster, decision_reason,
  source_ip, user_agent, verb, request_uri, decision, response_code
FROM events
WHERE user_name = 'system:anonymous' AND stage = 'ResponseComplete'
  AND regexp_like(request_uri,
    '^/(pods|runningpods|run|exec|attach|portForward|containerLogs|spec|configz|stats|cri|checkpoint|metrics/(cadvisor|probes|resource))(/|\?|$)')
