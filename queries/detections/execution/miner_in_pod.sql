/*
id: K8A-426
title: Miner of cryptocurrency run in a pod
severity: critical
attack: [T1496, T1609]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} ran a miner by `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Somebody who clears a miner away; looking for one with ps, grep or pkill does not count.
respond: >-
  Delete the pod and what made it, revoke the credential, then look for the same image, address and
  identity in other namespaces: miners come in numbers.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container, left(command, 500) AS command
FROM (
  SELECT *, exec_command(request_uri) AS command,
    -- As a shell takes it: lines that go on put together, others ended by `;`, no quotes and no
    -- escapes within words, ${IFS} and white space as one blank, without variables that are
    -- empty there, in small letters.
    lower(regexp_replace(regexp_replace(regexp_replace(
      translate(regexp_replace(exec_command(request_uri), '\\\r?\n', '', 'g'), '"''\', ''),
      '[\r\n]+', ';', 'g'), '(\$\{IFS[^}]*\}|\$IFS|\s)+', ' ', 'g'), '\$[@*0-9]', '', 'g'))
      AS shell
  FROM events
  -- create (SPDY) or get (WebSocket): the subresource tells. A session that came about switches
  -- protocols and says so when it starts; its completion tells of it again, hours later maybe.
  WHERE resource = 'pods' AND subresource = 'exec' AND api_group IS NULL
    AND stage = 'ResponseStarted' AND response_code < 300
  )
WHERE
  -- As a program: the first word of a command, or a path of one. After grep or pkill it is a word.
  regexp_like(shell, '(?x)
    (^|-c\s|[;&|(]\s?|/|\b(nohup|setsid|exec|sudo|timeout\s\S+|nice(\s-\S+)*)\s)
    (xmrig|xmr-stak\S*|minerd|cpuminer\S*|cgminer|bfgminer|ethminer|nbminer|lolminer|phoenixminer
      |gminer|teamredminer|srbminer\S*|nanominer|kinsing|kdevtmpfsi|nheqminer|xmrigdaemon)
    (\s|$|[;&|)])')
  -- What a miner is told.
  OR regexp_like(shell, '(?x) \bstratum\d?\+(tcp|ssl|tls|udp)\d*:/ | --donate-level\b | --randomx-
    | \b(supportxmr|minexmr|moneroocean|hashvault|nanopool|2miners|unmineable|nicehash|f2pool)
      \.\w+[:/]
    | \s--algo[=\s](rx/|cn/|randomx|cryptonight|kawpow|ethash)')
  OR regexp_like(command, 'c3RyYXR1bSt0Y3|N0cmF0dW0rdGNw|zdHJhdHVtK3Rjc')
