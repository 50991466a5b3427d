/*
id: K8A-514
title: Static pod that no node ran before
severity: medium
attack: [T1610, T1525, T1543.005]
controls: [API-6]
first_seen: {key: [namespace, static_pod], lookback: 30d, learn: 7d}
needs: {level: Request, resources: [pods], verbs: [create], stages: [ResponseComplete]}
describe: "the kubelet of {{node}} runs the static pod {{namespace}}/{{static_pod}} ({{images}}), which no node ran before"
false_positives: >-
  A new component of the control plane, such as a load balancer for its address; a node of another
  make.
respond: >-
  A static pod comes from a file on the node (/etc/kubernetes/manifests): whoever wrote it has the
  node. Look at the file and its time; unless an administrator owns to it, take the node out of
  service and keep its disk.
*/
SELECT
  cluster, user_name, source_ip, namespace, name AS pod, node,
  -- The kubelet adds the name of its node: the next node with the same file is no news.
  replace(name, concat('-', node), '') AS static_pod,
  translate(json_query(request_object, '$.spec.containers[*].image'), ',[]"', ' ') AS images
FROM (
  SELECT *, split_part(user_name, ':', 3) AS node FROM events
  WHERE resource = 'pods' AND api_group IS NULL AND subresource IS NULL AND verb = 'create'
    AND response_code BETWEEN 200 AND 299 AND user_name LIKE 'system:node:%'
    AND json_exists(request_object, '$.metadata.annotations["kubernetes.io/config.mirror"]')
    -- The programs that hold a kubelet: any other one forges such a pod, which K8A-544 tells.
    AND regexp_like(user_agent,
      '^(kubelet|hyperkube|kubelite|k3s|k3s-agent|rke2|k0s)(\.exe)?/')
) AS mirrored
