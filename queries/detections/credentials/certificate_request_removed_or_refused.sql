/*
id: K8A-224
title: Certificate request deleted, or its approval refused
severity: low
attack: [T1070, T1098]
controls: [SA-2]
key: [user_name, source_ip]
exempt: [control-plane, cloud, credentials-administration]
needs: {level: Metadata, resources: [certificatesigningrequests, certificatesigningrequests/approval], verbs: [update, patch, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}}{{acting_as}} {{what}} {{request}} from {{source_ip}} ({{user_agent}})"
false_positives: >-
  An administrator who tidies up, or who tries to approve without the right to a signer.
respond: >-
  The cluster deletes requests by itself within a day; who deletes one by hand may hide what it was
  for. Look for its creation and approval, by its name.
*/
SELECT
  cluster, decision_reason,
  user_name, impersonated_user, source_ip, user_agent, verb, name, response_code,
  coalesce(name, '(all that match)') AS request,
  CASE WHEN subresource = 'approval' THEN 'was refused the approval of certificate request'
    ELSE 'deleted certificate request' END AS what,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'certificatesigningrequests' AND api_group = 'certificates.k8s.io'
  AND stage = 'ResponseComplete' AND NOT is_system_user(user_name)
  AND ((subresource IS NULL AND verb IN ('delete', 'deletecollection')
      AND response_code BETWEEN 200 AND 299
      AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All'))
    -- By authorization, or after it for want of the right to the signer.
    OR (subresource = 'approval' AND verb IN ('update', 'patch') AND response_code = 403))
