/*
id: K8A-634
title: Somebody writes a Helm release for the first time
severity: low
attack: [T1072]
controls: [WL-9]
first_seen: {key: [user_name, impersonated_user], lookback: 30d, learn: 7d}
needs: {level: Metadata, resources: [secrets], verbs: [create, update, patch], stages: [ResponseComplete]}
exempt: [control-plane, control-distributions, cloud, gitops, platform, control-setup]
describe: "{{user_name}}{{acting_as}} wrote Helm release {{name}} in namespace {{namespace}} from {{source_ip}} ({{user_agent}}), and none in 30 days before"
false_positives: A new colleague or pipeline that delivers with Helm.
respond: >-
  Ask whether they deliver. A release that is rewritten brings what is in it at the next rollback:
  compare it with its chart (helm get manifest).
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, namespace, name,
  CASE WHEN impersonated_user IS NULL THEN '' ELSE concat(' as ', impersonated_user) END
    AS acting_as
FROM events
WHERE resource = 'secrets' AND api_group IS NULL AND verb IN ('create', 'update', 'patch')
  AND name LIKE 'sh.helm.release.v1.%'
  -- Done, not just allowed; a dry run changes nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
