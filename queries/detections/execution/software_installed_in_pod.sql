/*
id: K8A-425
title: Software installed or a cluster client used in a running container
severity: low
attack: [T1105, T1609]
controls: [WL-9, IMG-1]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Developers who miss a tool in their image; pods that are made to be worked in.
respond: >-
  Ask the person. The container is no longer what its image says: replace the pod. What it can do in
  the cluster is what its service account may.
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
WHERE regexp_like(shell, '(?x)
  (^|[\s;|&(/])( (apt|apt-get|aptitude|yum|dnf|microdnf|zypper|tdnf)\s(-\S+\s)*(install|add|in)\s
    | apk\s(-\S+\s)*add\s | pacman\s-s | opkg\sinstall\s | pip[0-9.]*\sinstall\s
    | python[0-9.]*\s-m\spip\sinstall\s | npm\s(i|install)\s(\S+\s)*-g\b | gem\sinstall\s
    | go\sinstall\s | cargo\sinstall\s | (dpkg|rpm)\s-\S*i
    | (kubectl|oc|helm)\s[a-z-] )')
