/*
id: K8A-410
title: Command in a pod opens a shell to another machine
severity: critical
attack: [T1059.004, T1609, T1095]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} opened a shell to elsewhere by `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Exercises and penetration tests. Trying whether a port answers (nc -z, /dev/tcp) does not count.
respond: >-
  Cut the pod off by network policy and keep it for inspection, revoke the credential that ran the
  command, and treat the pod's service account, secrets and network neighbours as known to the
  attacker. The address in the command is where they listen.
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
  -- A shell whose input is a connection of bash's own. The connection alone is how one tries a port
  -- where nothing better is installed.
  (regexp_like(shell, '/dev/(tcp|udp)/') AND regexp_like(shell, '(?x)
    (^|[\s/;|&(!])(ba|da|a|z|k|c)?sh(\s(-\S+\s)*-\S*i\b | \s?[0-9]*&?[<>] )
    | \b0[<>]&
    | \bwhile\s+read\b.*\$'))
  -- Tools that run a program on a connection, or that a shell is piped to or from.
  OR regexp_like(shell, '(?x)
    \b(nc|ncat|netcat)(\.[a-z]+)?\s(\S+\s)*(-[a-z0-9]*[ec]|--exec|--sh-exec)[\s=]?(\S*/)?
      (ba|da|a|z|k|c)?sh\b
    | \b(nc|ncat|netcat|telnet|socat|openssl\ss_client)\b[^|;]*\|\s?(\S*/)?(ba|da|a|z|k|c)?sh\b
      (\s?(-i|[|&;0-9<>)])|\s?$)
    | \b(mkfifo|mknod)\s.*[\s/|](ba|da|a|z|k|c)?sh\b.*\b(nc|ncat|netcat|telnet|openssl\ss_client)\b
    | \bztcp\b | \bgs-netcat\b | gsocket\.io')
  OR (regexp_like(shell, '\bsocat\b')
    AND regexp_like(shell, '\b(tcp|udp|openssl|ssl|sctp|vsock|socks|proxy)\S*:')
    AND regexp_like(shell, '\b(exec|system):\S*sh\b|\bpty\b'))
  -- Languages: a connection, and a program or a terminal on it, in one line.
  OR (regexp_like(shell, '\bpython[0-9.]*\b') AND regexp_like(shell, '\bsocket\b')
    AND regexp_like(shell, '\bdup2\b|\bpty\.|\bsubprocess\b|\bos\.(system|popen|exec)'))
  OR (regexp_like(shell, '\bperl\b') AND regexp_like(shell, '\bsocket\b')
    AND regexp_like(shell, '\bexec\b|\bsystem\b|\bstd(in|out|err)->fdopen|open\(?std'))
  OR (regexp_like(shell, '\bphp[0-9.]*\b')
    AND regexp_like(shell, '\bfsockopen\b|\bstream_socket_client\b|\bsocket_connect\b')
    AND regexp_like(shell, '\b(exec|shell_exec|proc_open|popen|system|passthru)\b|`'))
  OR (regexp_like(shell, '\bruby\b') AND regexp_like(shell, '\btcpsocket\b')
    AND regexp_like(shell, '\bexec\b|\bspawn\b|\bpopen\b|\bsh\b'))
  OR (regexp_like(shell, '\bnode(js)?\b') AND regexp_like(shell, '\bchild_process\b')
    AND regexp_like(shell, '\bnet\b.*\b(connect|createconnection|socket)\b'))
  OR (regexp_like(shell, '\blua(jit)?[0-9.]*\b') AND regexp_like(shell, '\bsocket\b')
    AND regexp_like(shell, '\bos\.execute\b|\bio\.popen\b'))
  OR (regexp_like(shell, '\bg?awk\b') AND regexp_like(shell, '/inet6?/(tcp|udp)/')
    AND regexp_like(shell, '\|&|getline'))
  -- Hidden in base64 at its three alignments: `/dev/tcp/`, `/dev/udp/`, `pty.spawn`.
  OR regexp_like(command, '(?x) L2Rldi90Y3Av | 9kZXYvdGNwL | vZGV2L3RjcC
    | L2Rldi91ZHAv | 9kZXYvdWRwL | vZGV2L3VkcC
    | cHR5LnNwYXdu | B0eS5zcGF3b | wdHkuc3Bhd2')
