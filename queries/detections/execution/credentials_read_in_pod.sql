/*
id: K8A-408
title: Command in a pod reads tokens, keys or a node's credentials
severity: high
attack: [T1552.001, T1552.007, T1528]
controls: [WL-9, SEC-1, ETCD-1]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Metadata, resources: [pods/exec], verbs: [create, get], stages: [ResponseStarted]}
describe: "{{user_name}}{{acting_as}} ran `{{command}}` in pod {{namespace}}/{{name}}, which reads {{what}}, from {{source_ip}}"
false_positives: >-
  Somebody who looks for why a pod cannot call the API or a cloud, and prints its token; tools that
  collect a node's files for support. Paths in the arguments of etcdctl do not count.
respond: >-
  Ask the person. If it was not them, revoke their credential, then what was read: delete the pod
  (its bound tokens end with it), rotate keys and passwords. See what the service account of the pod
  did since, and from where.
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
      -- Tokens the kubelet projects, also of clouds, by way of /proc/*/root as well, and with
      -- wildcards for parts of the path; the variables that clouds name them by.
      WHEN regexp_like(path, '(?x)
          run/secrets/( kubernetes\.io | eks\.amazonaws\.com | azure/tokens
            | \S*(serviceaccount|token) | \S*[*?\[] )
          | /run/[^/\s]*[*?\[][^/\s]*/\S+/
          | \b(cat|tar|cp|find|grep|rsync|zip)\s[^;|&]*/run/secrets/?(\s|$)
          | \bfind\s/\S*\s[^;|&]*-i?name\s\*?(token|kubeconfig|admin\.conf)\*?(\s|$)
          | (/[^/\s]*[*?\[][^/\s]*){4}
          | aws_web_identity_token_file | azure_federated_token_file')
        -- The same hidden in base64, at its three alignments.
        OR regexp_like(command, '(?x)
          c2VydmljZWFjY291bn | NlcnZpY2VhY2NvdW50 | zZXJ2aWNlYWNjb3Vud')
        THEN 'the token of a service account'
      -- Of the node: certificates and kubeconfigs of its components, pods' volumes, not the sockets
      -- of plugins. etcdctl names its certificates at each call; a shell between would show.
      WHEN NOT is_etcdctl AND (regexp_like(path, '(?x)
          /etc/kubernetes/( pki | manifests | \S*\.conf | azure\.json | enc | cloud | \S*[*?\[] )
          | /var/lib/kubelet/( pki | \S*kubeconfig | config\.json
            | pods\S*(secret|token|projected|\*) )
          | \b(tar|cp|find|grep\s-\S*r|rsync|zip|scp|cat)\s[^;|&]*
            /(etc/kubernetes|var/lib/kubelet(/pods)?)/?(\s|$)
          | /var/lib/( rancher/(k3s|rke2) | k0s/pki | kube-proxy/kubeconfig | minikube/certs )
          | /etc/rancher/(k3s|rke2) | /etc/srv/kubernetes | /home/kubernetes/kube-env
          | /var/snap/microk8s/\S*(credentials|certs)')
        OR regexp_like(command, '(?x) L2V0Yy9rdWJlcm5ldGVzL | 9ldGMva3ViZXJuZXRlcy
          | vZXRjL2t1YmVybmV0ZXMv'))
        THEN 'credentials of the node'
      -- All that the cluster stores, secrets included. Not the store of an application that uses
      -- etcd as well, nor a single key that somebody tries it with, nor how large it is.
      WHEN regexp_like(path, '\betcdctl\s.*\bget\s.*(/registry|/kubernetes\.io/)')
        OR (namespace IN ('kube-system', 'openshift-etcd')
          AND regexp_like(path, '\betcdctl\s.*\bget\s.*(--prefix|--from-key|\s/(\s|$))'))
        OR (NOT is_etcdctl AND regexp_like(path, '(?x)
          \b(cat|cp|tar|strings|grep|dd|base64|find|rsync|scp|bbolt|xxd)\s[^;|&]*
          /var/lib/etcd(/|\s|$)'))
        THEN 'the store of the cluster'
      WHEN regexp_like(path, '(?x)
          /etc/g?shadow\b | \.ssh/(id_|identity|\S*[*?]) | /etc/ssh/ssh_host_\S*key\b
          | (\b(cat|base64|cp|tar|grep|head|tail|less|more|sed|awk|strings|xxd|od|dd|nl|tac|curl|scp)
              \s[^;|&]*|<\s?\S*)\.kube/config\b
          | \.docker/config\.json | \.git-credentials | \.netrc\b | \.pgpass\b
          | \.aws/credentials | \.azure/(accesstokens|msal_token|azureprofile)
          | \.config/gcloud | application_default_credentials | \.vault-token
          # The environment of all processes, not just of the pod''s own.
          | /proc/(\*|\$|\[|\?)\S*/?(environ|mem)\b')
        OR regexp_like(command, '(?x) L2V0Yy9zaGFkb3 | 9ldGMvc2hhZG93 | vZXRjL3NoYWRvd')
        THEN 'files of credentials'
    END AS what
  FROM (
    SELECT *,
      -- Paths as they end up, `/run/./secrets`, `//` and `/x/../` made plain; then without what
      -- is no secret in a service account's volume.
      regexp_replace(
        regexp_replace(regexp_replace(shell, '/(\./|/)+', '/', 'g'), '[^/\s]+/\.\./', '', 'g'),
        '[a-z0-9./=_-]*serviceaccount/(ca\.crt|namespace)\b', '', 'g') AS path,
      regexp_like(shell, '(?x) ^((ba|da|a)?sh\s-c\s)?(env\s)?([a-z_]+=\S+\s)*(/\S*/)?etcdctl\s
        [^;|&$`<>]*$') AS is_etcdctl
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
)
WHERE what IS NOT NULL
