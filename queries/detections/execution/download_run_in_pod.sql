/*
id: K8A-411
title: Command in a pod downloads a program
severity: medium
attack: [T1105, T1059.004]
controls: [WL-9, IMG-1]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} downloaded a program by `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  A developer who installs a tool by its script (`curl ... | sh`) to look into a problem; tools for
  development that bring their helper into the container. Asking a service with curl or wget does
  not count.
respond: >-
  Ask the person. If it was not them, revoke the credential, keep a copy of what was downloaded, and
  replace the pod: its image no longer says what runs in it.
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
  -- What is fetched is run at once. `| python -m json.tool`, `| perl -ne` and `| jq` only read it.
  regexp_like(shell, '(?x)
    \b(curl|wget|fetch|aria2c|lwp-download)\b[^;]*\|\s?(sudo\s)?(env\s)?(\S*/)?
      ( (ba|da|a|z|k|c)?sh( \s-s\b | (\s-\S*)*\s?($|[;&|)]|[0-9]?>) )
      | (python|perl|php|ruby|node)[0-9.]*(\s-)?\s?($|[;&|)]) )
    | (\b(ba|da|a|z|k|c)?sh\b\S*\s(-\S+\s)*|\beval\s|\bsource\s|\s\.\s)(\$\(|`|<\(|<<<\s?\$\()\s?
      \b(curl|wget)\b
    | \bexec\(.*\b(urlopen|urlretrieve|requests\.get)\b
    | \beval\(.*\bfile_get_contents\(\s?https?:')
  -- Fetched and made executable, or put where programs are; or where nothing else would be put.
  OR (regexp_like(shell, '\b(curl|wget|fetch|aria2c|tftp|ftpget|urlretrieve)\b')
    AND regexp_like(shell, '(?x) \bchmod\s(-\S+\s)*([ugoa]*\+[rwst]*x|[0-7]?[1357][0-7]{2})
      | (\s-\S*o\s?|--output[\s=-]\S*\s?|>\s?|\s-p\s?|--directory-prefix[\s=])
        (/usr(/local)?/s?bin/|/s?bin/|/dev/shm/)'))
  -- From a public address without a name, or from where anybody leaves files for an hour.
  OR (regexp_like(shell, '\b(curl|wget|fetch|aria2c)\b') AND (
    regexp_like(shell, '(?x) pastebin\.com/raw | \b(paste\.ee|transfer\.sh|file\.io|0x0\.st
      |bashupload\.com|termbin\.com|temp\.sh|anonfiles\.com|gofile\.io|ngrok(-free)?\.\w+
      |trycloudflare\.com|webhook\.site|requestbin\.\S+|pipedream\.net|oast\.\S+|interact\.sh
      |oastify\.com|burpcollaborator\.net)\b')
    -- Kept, not just looked at: the address may be that of one's own load balancer.
    OR (private_ip(regexp_match(shell,
        'https?:/+(?:[^/@\s]*@)?([0-9]{1,3}(?:\.[0-9]{1,3}){3})\b')[1]) = FALSE
      AND regexp_like(shell, '(?x) \bcurl\b.*(\s-[a-z]*o\s?|\s--output[\s=]|\s--remote-name|>)
        | \bwget\b | \bfetch\b')
      AND NOT regexp_like(shell,
        '/dev/null|\s-[a-z]*o\s?-(\s|$)|--spider|--output-document[\s=]-'))))
