/*
id: K8A-417
title: Debug container with rights over the node added to a running pod
severity: medium
attack: [T1611, T1610]
controls: [WL-1, WL-9]
key: [user_name, impersonated_user, namespace, name]
needs: {level: Request, resources: [pods/ephemeralcontainers], verbs: [patch, update], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} added a debug container with rights over the node ({{containers}}) to pod {{namespace}}/{{name}} from {{source_ip}}"
false_positives: >-
  `kubectl debug --profile=sysadmin` by an administrator. What kubectl adds by itself (SYS_PTRACE,
  and NET_ADMIN for the network) does not count.
respond: >-
  Whoever controls a privileged container controls its node. Delete the pod unless the person
  confirms it, and treat the node and the credentials on it as known to the attacker.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN ''
    ELSE concat(' as ', impersonated_user) END AS acting_as,
  left(translate(coalesce(
    nullif(json_query(request_object, '$.spec.ephemeralContainers[*]["name", "image"]'), '[]'),
    json_query(request_object, '$[*].value..image')), ',[]"', ' '), 500) AS containers
FROM events
WHERE resource = 'pods' AND subresource = 'ephemeralcontainers' AND api_group IS NULL
  AND verb IN ('patch', 'update')
  -- Done, not just allowed: Pod Security may have stopped it, a dry run too.
  AND response_code BETWEEN 200 AND 299 AND stage = 'ResponseComplete'
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
  AND (
    -- A whole pod or a patch of it. Only these containers can be written here: those that the pod
    -- began with may be privileged, and are in a whole pod as they were.
    json_exists(request_object, '$.spec.ephemeralContainers[?
      @.securityContext.privileged == true
      || @.securityContext.capabilities.add[?match(@,
        "(?i)(CAP_)?(ALL|SYS_ADMIN|SYS_MODULE|SYS_RAWIO|SYS_BOOT|DAC_READ_SEARCH|BPF|MKNOD)")]]')
    -- A JSON patch: of one container, or of all of them.
    OR json_exists(request_object, '$[?search(@.path, "^/spec/ephemeralContainers/")].value
      [?@.privileged == true || @.capabilities.add[?match(@,
        "(?i)(CAP_)?(ALL|SYS_ADMIN|SYS_MODULE|SYS_RAWIO|SYS_BOOT|DAC_READ_SEARCH|BPF|MKNOD)")]]')
    OR json_exists(request_object, '$[?@.path == "/spec/ephemeralContainers"].value[?
      @.securityContext.privileged == true
      || @.securityContext.capabilities.add[?match(@,
        "(?i)(CAP_)?(ALL|SYS_ADMIN|SYS_MODULE|SYS_RAWIO|SYS_BOOT|DAC_READ_SEARCH|BPF|MKNOD)")]]')
    OR json_exists(request_object, '$[?@.path == "/spec"].value.ephemeralContainers[?
      @.securityContext.privileged == true
      || @.securityContext.capabilities.add[?match(@,
        "(?i)(CAP_)?(ALL|SYS_ADMIN|SYS_MODULE|SYS_RAWIO|SYS_BOOT|DAC_READ_SEARCH|BPF|MKNOD)")]]'))
