/*
id: K8A-412
title: Files copied into or out of a container
severity: informational
attack: [T1105, T1005]
controls: [WL-9]
key: [user_name, impersonated_user, namespace, name, direction]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
exempt: [execution-tools]
describe: "{{user_name}}{{acting_as}} copied files {{direction}} pod {{namespace}}/{{name}} by `{{command}}` from {{source_ip}}"
false_positives: >-
  `kubectl cp` and editors that work in containers. A fact, not an alarm; paths of credentials are a
  detection of their own.
respond: >-
  Ask the person. What went in is still in the container, what went out is named by the command.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container, left(command, 500) AS command,
  CASE WHEN regexp_like(shell, '^(/\S*/)?tar\s(-?[a-z]*x|--extract)') THEN 'into' ELSE 'out of' END
    AS direction
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
-- tar on the session's own input or output, `-`, which is what kubectl cp runs: `-xmf -` and
-- `cf - PATH`. Other clients use other words, or a shell.
WHERE regexp_like(shell,
    '^((ba|da|a)?sh\s-c\s)?(/\S*/)?tar\s(-?[a-z]*[xc]|--extract|--create)')
  AND regexp_like(shell, '\s(-?[a-z]*f\s?|--file[= ])-(\s|$)')
