/*
id: K8A-558
title: Backups or snapshots deleted
severity: medium
attack: [T1490, T1485]
window: 1h
slide: 10m
dedup: 6h
params: {backups: 3}
exempt: [control-plane, cloud, gitops, platform, workload-programs]
needs: {level: Metadata, resources: [backups, schedules, deletebackuprequests, backupstoragelocations, volumesnapshotlocations, backuprepositories, volumesnapshots, volumesnapshotcontents, volumegroupsnapshots, snapshots, recurringjobs, backuptargets, backupvolumes, restorepoints, restorepointcontents, profiles, policies], verbs: [create, delete, deletecollection], stages: [ResponseComplete]}
describe: "{{user_name}} deleted {{objects}} backups, snapshots or what makes and keeps them ({{example}} ...) from {{source_ip}}"
false_positives: >-
  Old backups that are tidied up by hand, another program for them that takes the place of the first.
respond: >-
  Ask at once: who destroys data destroys its backups first. Stop the program of the backups, so that
  it deletes no more of what is stored; see whether the store (bucket, snapshots of the cloud) still
  has them, and lock it.
*/
-- Velero, the storage interface's snapshots, Longhorn, K8up, Kasten. Velero deletes what is stored,
-- too, when it is asked to by an object (`velero backup delete`).
SELECT
  cluster, user_name, source_ip,
  count(DISTINCT concat_ws('/', resource, namespace, coalesce(name, audit_id))) AS objects,
  min(concat_ws('/', resource, namespace, name)) AS example, min(user_agent) AS user_agent,
  count(*) FILTER (WHERE verb = 'deletecollection') AS collections,
  max(decision_reason) AS decision_reason
FROM events
WHERE resource IN ('backups', 'schedules', 'deletebackuprequests', 'backupstoragelocations',
    'volumesnapshotlocations', 'backuprepositories', 'volumesnapshots', 'volumesnapshotcontents',
    'volumegroupsnapshots', 'snapshots', 'recurringjobs', 'backuptargets', 'backupvolumes',
    'restorepoints', 'restorepointcontents', 'profiles', 'policies')
  AND (api_group IN ('velero.io', 'snapshot.storage.k8s.io', 'groupsnapshot.storage.k8s.io',
      'longhorn.io', 'k8up.io', 'apps.kio.kasten.io', 'config.kio.kasten.io'))
  AND subresource IS NULL
  AND (verb IN ('delete', 'deletecollection')
    OR verb = 'create' AND resource = 'deletebackuprequests')
  -- What such a request leaves behind is no backup.
  AND NOT (verb = 'delete' AND resource = 'deletebackuprequests')
  -- Done, not just allowed; a dry run does nothing.
  AND response_code BETWEEN 200 AND 299
  AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
GROUP BY cluster, user_name, source_ip
-- One backup is one mistake. Many are not; nor are their plan and their place.
HAVING count(DISTINCT concat_ws('/', resource, namespace, coalesce(name, audit_id))) >= $backups
  OR count(*) FILTER (WHERE verb = 'deletecollection' OR resource IN ('backupstoragelocations',
    'volumesnapshotlocations', 'backuptargets', 'schedules', 'recurringjobs', 'policies')) >= 1
