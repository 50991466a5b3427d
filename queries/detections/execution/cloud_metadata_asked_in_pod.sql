/*
id: K8A-409
title: Command in a pod asks the cloud's metadata service for credentials
severity: high
attack: [T1552.005]
controls: [NET-4, WL-9, CLD-1]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} asked the cloud's metadata by `{{command}}` in pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  Somebody who looks for why a workload identity does not work. Asking for the zone, the name or the
  account's address does not count.
respond: >-
  Ask the person. If it was not them, treat the cloud role of the node, or of the pod's service
  account, as stolen: revoke its sessions, look for its use from elsewhere in the cloud's own log,
  and keep pods from the metadata address by network policy.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  url_param(request_uri, 'container') AS container, left(command, 500) AS command
FROM (
  SELECT *,
    -- Without what gives nothing away: where and what the instance is, and the key that every
    -- request to AWS needs first.
    regexp_replace(shell, '(?x) (https?:)?/*(169\.254\.169\.254|metadata(\.google\.internal)?)/+
      ( latest/api/token | latest/meta-data/(placement/[a-z0-9/-]+|instance-id|instance-type|ami-id
          |hostname|local-hostname|local-ipv4|mac)
        | computemetadata/v1/( project/(project-id|numeric-project-id)
          | instance/(zone|name|id|hostname|machine-type|region|attributes/cluster-[a-z]+)
          | instance/service-accounts/[a-z0-9@.-]+/email ))
      /?(\s|\)|`|;|\||$)', ' ', 'g') AS asked
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
WHERE
  -- The address as people write it, and as those do who do not want to be found: decimal, octal,
  -- hexadecimal, within IPv6. 169.254.169.253 and 169.254.20.10 are name servers.
  regexp_like(asked, '(?x)
    \b169\.254\.169\.254\b | \b2852039166\b | \b0xa9fea9fe\b | \b0xa9\.0xfe\.0xa9\.0xfe\b
    | \b0251\.0376\.0251\.0376\b | \b025177524776\b | \b169\.254\.43518\b | \b169\.16689662\b
    | ::ffff:a9fe:a9fe | fd00:ec2::(254|23)
    # The credentials of a container or a pod on AWS; the metadata of Alibaba Cloud.
    | \b169\.254\.170\.(2|23)\b | aws_container_credentials_(full|relative)_uri
    | \b100\.100\.100\.200\b
    | metadata\.google\.internal/ | /computemetadata/v1
    | /latest/(meta-data|user-data)\b | /metadata/(identity|instance)\S*api-version')
  -- Hidden in base64, at its three alignments.
  OR regexp_like(command, 'MTY5LjI1NC4xNjkuMjU0|E2OS4yNTQuMTY5LjI1N|xNjkuMjU0LjE2OS4yNT')
