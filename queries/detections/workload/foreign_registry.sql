/*
id: K8A-516
title: Image from a registry that is not allowed
severity: medium
attack: [T1610, T1525, T1204.003]
controls: [IMG-1]
key: [user_name, resource, workload]
params: {allowed: '', refused: 'ttl[.]sh/|[^/"]+[.](ngrok[^/"]*|trycloudflare[.]com|serveo[.]net)/'}
exempt: [control-plane]
needs: {level: Request, resources: [pods, pods/ephemeralcontainers, deployments, daemonsets, statefulsets, replicasets, replicationcontrollers, jobs, cronjobs, podtemplates], verbs: [create, update, patch], stages: [ResponseComplete]}
describe: "{{user_name}} deployed {{resource}} {{workload}} with {{images}}, which is not from an allowed registry, by {{verb}} from {{source_ip}}"
false_positives: >-
  A registry that the setting does not name yet; a trial with a registry for throw-away images.
respond: >-
  Ask where the image is from and what it was tried for; have it copied to an allowed registry, or
  delete the workload.
*/
SELECT
  cluster, user_name, impersonated_user, source_ip, user_agent, verb, resource, namespace,
  concat_ws('/', namespace, coalesce(name, json_value(request_object, '$.metadata.name'),
    json_value(request_object, '$.metadata.generateName'))) AS workload,
  trim(regexp_replace(images, '[\]\[",]+', ' ', 'g')) AS images
FROM (
  SELECT *,
    -- The images of all its containers; of a JSON patch, its values.
    concat(json_query(request_object, '$..image'),
      json_query(request_object, '$[?search(@.path, "/image$")].value')) AS images
  FROM events
  WHERE resource IN ('pods', 'deployments', 'daemonsets', 'statefulsets', 'replicasets',
      'replicationcontrollers', 'jobs', 'cronjobs', 'podtemplates')
    AND (subresource IS NULL OR subresource = 'ephemeralcontainers')
    AND verb IN ('create', 'update', 'patch')
    -- Done, not just allowed: admission may have stopped it, a dry run too.
    AND response_code BETWEEN 200 AND 299
    AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')
) AS written
-- `allowed` and `refused` are beginnings of images as regular expressions, such as
-- `registry[.]acme[.]example/|registry[.]k8s[.]io/`. Without a setting everything is allowed, and
-- refused is where anybody may put an image without an account. An image that names no registry
-- is Docker's, and written as it is written here.
WHERE regexp_replace(images, concat('"(', $allowed, ')[^"]*"'), '', 'g') LIKE '%"%'
  OR regexp_like(images, concat('"(', $refused, ')'))
