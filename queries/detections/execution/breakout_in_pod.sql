/*
id: K8A-414
title: Command in a pod reaches for the node, other containers or the cluster
severity: medium
attack: [T1611, T1613, T1027, T1609]
controls: [WL-9, WL-2]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}: {{what}}"
false_positives: >-
  Administrators who look after nodes through a pod made for it (chroot /host, crictl); tools that
  encode a script to spare themselves the quoting.
respond: >-
  Ask the person. If it was not them, revoke the credential and treat the node as known to the
  attacker when the pod is privileged or mounts parts of it; decode what was hidden.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container, left(command, 500) AS command,
  what
FROM (
  SELECT *,
    CASE
      WHEN regexp_like(shell, '(?x)
          (^|[\s;|&(/])nsenter\s | (^|[\s;|&(/])unshare\s-
          | (^|[\s;|&(/])chroot\s(-\S+\s)*/(host|rootfs|hostfs|mnt|node|proc/1/root)
          | /proc/1/(root|ns/)
          | /(docker|containerd|crio|cri-dockerd)\.sock
          | (^|[\s;|&(/])(crictl|nerdctl)\s
          | (^|[\s;|&(/])ctr\s(-n|--namespace|-a|c\s|t\s|containers|tasks|run)
          | (^|[\s;|&(/])mount\s[^|;]*(/dev/(sd|vd|xvd|nvme|mapper|dm-)|cgroup)
          | \brelease_agent\b | /proc/sys/kernel/core_pattern | /sys/kernel/uevent_helper
          | (^|[\s;|&(/])(insmod|modprobe|kexec|debugfs)\s
          | /dev/(kmem|mem)\b')
        THEN 'out of the container'
      WHEN regexp_like(shell, '(?x)
          \b(peirates|deepce|amicontained|kdigger|botb|linpeas|linenum|kubeletctl|kube-hunter
            |pspy(32|64)?|traitor|mimipenguin|mimikatz|masscan|zmap|rustscan|fscan|ligolo
            |meterpreter|msfconsole)\b
          | (^|[\s;|&(/])cdk\s(eva|evaluate|run|kcurl|ectl|auto-escape)
          | \bchisel\sclient\b | \bngrok\s(tcp|http)\b | \bfrpc\s-c\b
          | (^|[\s;|&(/])ssh\s(\S+\s)*-[a-z]*r\s?\S*:\S*:
          | \bnmap\s.*/[0-9]{1,2}(\s|$)
          # From inside, with the service account of the pod, to what is worth having; to kubelets.
          | https?:/+\S+:10250/(pods|runningpods|run|exec|attach|cri|logs|configz|portforward)
          | https?:/+(kubernetes\.default\S*|\$\{?kubernetes_service_host\S*)/apis?/\S*
            /(secrets|token|clusterroles|clusterrolebindings)\b
          | (^|[\s;|&(/])kubectl\s.*(\bsecrets?\b|\bauth\s(can-i|whoami)
            |\bcreate\s(token|clusterrole|role)|\bexec\s|\bdebug\s|--token[=\s]|--as[=\s])
          # Beginnings of a stay.
          | /etc/ld\.so\.preload | >\s?\S*\bauthorized_keys\b | >\s?/etc/cron
          | \bcrontab\s(-u\s\S+\s)?(-\s?($|[;&|])|[^-\s])
          | \bsetcap\s
          | \bchmod\s(-\S+\s)*(u?\+[rwx]*s|0?[4-7][0-7]{3}\b)
          | \b(unset|export)\shistfile | \bhistory\s-c\b | \bshred\s')
        THEN 'a tool or trick of attackers'
      -- What is run is not what is written: decoded on the way into a shell or an interpreter.
      WHEN regexp_like(shell, '(?x)
          \b(base64|base32|xxd|openssl|uudecode|gunzip|gzip|zcat|rev)\b[^|;]*\|\s?(sudo\s)?(\S*/)?
            ((ba|da|a|z|k|c)?sh\b | (python[0-9.]*|perl|php|ruby|node)(\s-)?\s?($|[;&|)]))
          | (\b(ba|da|a|z|k|c)?sh\s(-\S+\s)*|\beval\s|\bsource\s|\s\.\s)(\$\(|`|<\(|<<<\s?\$\().*
            \b(base64|base32|xxd|openssl)\b
          | \b(exec|eval|system|compile)\b.*
            \b(b64decode|base64_decode|decode_base64|decode64|fromhex)\b')
        OR regexp_like(command, '(\\x[0-9a-fA-F]{2}){6}|(\\0?[0-7]{3}){6}')
        THEN 'what it does is encoded'
    END AS what
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
  ))
WHERE what IS NOT NULL
