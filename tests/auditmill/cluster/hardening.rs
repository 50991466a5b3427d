//! Deeds that show each hardening control broken, and what only looks like them.
//!
//! `AUDITMILL_RECORD_HARDENING=DIR` writes both as files to DIR: this is how
//! `testdata/events/hardening` was made.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::apiserver::{Cluster, mark_path};
use super::audit_log::text;
use super::drive;
use super::pki::Pki;
use super::process::until;

const ADMIN: &str = "kubernetes-admin";
const LIMIT: Duration = Duration::from_secs(30);

/// Where the recording goes; `None` when nobody wants one.
pub(crate) fn destination() -> Option<PathBuf> {
    env::var_os("AUDITMILL_RECORD_HARDENING").map(PathBuf::from)
}

/// Drives a cluster through both and writes what its own audit log has of them.
pub(crate) fn write(bin: &Path, destination: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let cluster = Cluster::start(bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    prepare(&cluster);
    cluster.mark("prepared");
    good(&cluster);
    cluster.mark("good");
    bad(&cluster);
    cluster.mark("bad");
    fs::create_dir_all(destination).expect("create the folder");
    let (mut good, mut bad) = (String::new(), String::new());
    let mut part = 0;
    for line in cluster.audit_log.lines() {
        let event: Value = serde_json::from_str(&line).expect("a line is one event");
        let uri = text(&event, "/requestURI");
        part += ["prepared", "good", "bad"].iter().filter(|name| uri == mark_path(name)).count();
        let user = text(&event, "/user/username");
        let token = text(&event, "/objectRef/subresource") == "token";
        if token && user == "system:kube-controller-manager" {
            // A controller's own token, made at its start.
            good.push_str(&line);
            good.push('\n');
        }
        // The administrator gave the good ones their rights.
        let keep = is_told(&event, user) && !(part == 1 && user == ADMIN);
        let to = match part {
            1 if keep => &mut good,
            2 if keep => &mut bad,
            _ => continue,
        };
        to.push_str(&line);
        to.push('\n');
    }
    fs::write(destination.join("passing.jsonl"), good).expect("write the recording");
    fs::write(destination.join("failing.jsonl"), bad).expect("write the recording");
}

/// People, accounts of workloads, and what controllers make of their workloads.
fn is_told(event: &Value, user: &str) -> bool {
    let uri = text(event, "/requestURI");
    let discovery = uri.starts_with("/openapi") || uri.starts_with("/api?");
    let pod = text(event, "/objectRef/resource") == "pods" && text(event, "/verb") == "create";
    let own = !user.starts_with("system:")
        || user == "system:anonymous"
        || user.starts_with("system:serviceaccount:safe:")
        || user.starts_with("system:serviceaccount:dev:");
    let made = user.starts_with("system:serviceaccount:kube-system:") && pod;
    (own || made) && !discovery
}

/// Rights for those who do the good things, and kinds that a cluster does not have by itself.
fn prepare(cluster: &Cluster) {
    let grant = ["create", "clusterrolebinding", "ops-all", "--clusterrole=cluster-admin"];
    cluster.kubectl(ADMIN, &[&grant[..], &["--user=ops"]].concat());
    for (plural, kind, group) in [
        ("peerauthentications", "PeerAuthentication", "security.istio.io"),
        ("vulnerabilityreports", "VulnerabilityReport", "aquasecurity.github.io"),
    ] {
        cluster.apply(ADMIN, &definition(plural, kind, group));
        let name = format!("crd/{plural}.{group}");
        cluster.kubectl(ADMIN, &["wait", "--for=condition=established", "--timeout=20s", &name]);
    }
    cluster.wait_until_allowed("ops", "create", "clusterroles", "");
}

fn good(cluster: &Cluster) {
    let ops = |arguments: &[&str]| cluster.kubectl("ops", arguments);
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": "safe", "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
        },
    });
    cluster.apply("ops", &namespace);
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    cluster.apply("ops", &object("networking.k8s.io/v1", "NetworkPolicy", "closed", &closed));
    ops(&["create", "serviceaccount", "worker", "-n", "safe"]);
    ops(&["create", "role", "pods", "--verb=get,list", "--resource=pods", "-n", "safe"]);
    let account = "--serviceaccount=safe:worker";
    ops(&["create", "rolebinding", "worker", "--role=pods", account, "-n", "safe"]);
    cluster.apply("ops", &object("v1", "Pod", "web", &safe_pod()));
    let template = json!({ "metadata": { "labels": { "app": "falco" } }, "spec": safe_pod() });
    let spec = json!({ "selector": { "matchLabels": { "app": "falco" } }, "template": template });
    cluster.apply("ops", &object("apps/v1", "Deployment", "falcosidekick", &spec));
    ops(&["create", "service", "clusterip", "web", "--tcp=80", "-n", "safe"]);
    let rule = "--rule=web.example/*=web:80,tls=web";
    ops(&["create", "ingress", "web", rule, "-n", "safe"]);
    cluster.apply("ops", &webhook("guard", "Fail"));
    let strict = json!({ "mtls": { "mode": "STRICT" } });
    cluster.apply("ops", &object("security.istio.io/v1", "PeerAuthentication", "safe", &strict));
    let report = object("aquasecurity.github.io/v1", "VulnerabilityReport", "web", &json!({}));
    cluster.apply("ops", &report);
    ops(&["get", "pods", "-n", "dev", "--as=alice"]);
    cluster.kubectl("alice", &["get", "secret", "credential-00", "-n", "dev"]);
    // Refused: sessions, other nodes, a request without a credential.
    for path in
        ["/api/v1/namespaces/safe/pods/web/exec?command=id", "/api/v1/nodes/node1/proxy/pods"]
    {
        let refused = cluster.try_kubectl("alice", &["get", "--raw", path]);
        assert!(!refused.status.success(), "{path}");
    }
    assert_eq!(cluster.curl(&[], &["/api/v1/namespaces".into()]), [403]);
    let token = token(cluster, "safe", "worker");
    until("the account's binding to be known", LIMIT, || {
        let paths = ["/api/v1/namespaces/safe/pods".to_owned()];
        (cluster.curl(&["--header", &token], &paths) == [200]).then_some(())
    });
}

fn bad(cluster: &Cluster) {
    let admin = |arguments: &[&str]| cluster.kubectl(ADMIN, arguments);
    let anonymous = ["create", "rolebinding", "open-to-all", "--clusterrole=view", "-n", "dev"];
    admin(&[&anonymous[..], &["--user=system:anonymous"]].concat());
    cluster.wait_until_allowed("system:anonymous", "list", "pods", "dev");
    assert_eq!(cluster.curl(&[], &["/api/v1/namespaces/dev/pods".into()]), [200]);
    drive::forbidden(cluster);
    rights(cluster);
    workloads(cluster);
    let open = json!({ "podSelector": {}, "ingress": [{}] });
    let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", "open", &open);
    policy["metadata"]["namespace"] = json!("dev");
    cluster.apply(ADMIN, &policy);
    admin(&["create", "service", "nodeport", "open", "--tcp=80", "-n", "dev"]);
    cluster.apply(ADMIN, &webhook("lax", "Ignore"));
    admin(&["delete", "peerauthentication", "safe", "-n", "safe"]);
    admin(&["delete", "vulnerabilityreport", "web", "-n", "safe"]);
    admin(&["delete", "deployment", "falcosidekick", "-n", "safe"]);
    // Whatever the node answers: it was let through.
    cluster.try_kubectl(ADMIN, &["get", "--raw", "/api/v1/nodes/node1/proxy/pods"]);
    let role = "eks.amazonaws.com/role-arn=arn:aws:iam::1:role/all";
    admin(&["annotate", "serviceaccount", "default", "-n", "dev", role]);
    admin(&["get", "secrets", "--all-namespaces", "-o", "name"]);
    let hunter =
        ["--user-agent", "kube-hunter/0.6", "--header", "Authorization: Bearer token-mallory"];
    cluster.curl(&hunter, &["/api".into()]);
}

fn rights(cluster: &Cluster) {
    let admin = |arguments: &[&str]| cluster.kubectl(ADMIN, arguments);
    admin(&["create", "clusterrole", "all", "--verb=*", "--resource=pods"]);
    let unused = ["create", "rolebinding", "unused", "--clusterrole=view", "--user=nobody"];
    admin(&[&unused[..], &["-n", "dev"]].concat());
    let bound = ["create", "clusterrolebinding", "boss", "--clusterrole=cluster-admin"];
    admin(&[&bound[..], &["--user=mallory"]].concat());
    let as_master = ["get", "pods", "-n", "dev", "--as=x", "--as-group=system:masters"];
    admin(&as_master);
    let edit = ["create", "rolebinding", "default-edit", "--clusterrole=edit", "-n", "prod"];
    admin(&[&edit[..], &["--serviceaccount=dev:default"]].concat());
    let token = token(cluster, "dev", "default");
    // The default account, in a namespace that is not its own, changes something.
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"left-here"}}"#;
    let json_body = "Content-Type: application/json";
    let post = ["--request", "POST", "--header", json_body, "--data", map, "--header", &token];
    until("the account's binding to be known", LIMIT, || {
        let paths = ["/api/v1/namespaces/prod/configmaps".to_owned()];
        (cluster.curl(&post, &paths) == [201]).then_some(())
    });
}

fn workloads(cluster: &Cluster) {
    let spec = json!({
        "nodeName": "node1",
        "hostPID": true,
        "tolerations": [{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }],
        "volumes": [{ "name": "data", "hostPath": { "path": "/var/lib/etcd" } }],
        "containers": [{
            "name": "shell",
            "image": "docker.example/shell:latest",
            "securityContext": { "privileged": true, "runAsUser": 0 },
        }],
    });
    let mut pod = object("v1", "Pod", "toolbox", &spec);
    pod["metadata"]["namespace"] = json!("dev");
    cluster.apply(ADMIN, &pod);
    let image = "--image=docker.example/kubernetesui/dashboard:v2.7.0";
    cluster.kubectl(ADMIN, &["create", "deployment", "board", image, "-n", "dev"]);
    // An event above 100 KiB loses its body.
    let long = "x".repeat(150_000);
    let mut large = object("v1", "Pod", "large", &spec);
    large["metadata"] = json!({
        "name": "large", "namespace": "dev", "annotations": { "example.com/long": long },
    });
    let file = tempfile::NamedTempFile::new().expect("create a file");
    fs::write(file.path(), large.to_string()).expect("write a manifest");
    cluster.kubectl(ADMIN, &["create", "-f", &file.path().to_string_lossy()]);
    until("the pod to run", LIMIT, || {
        let phase = ["get", "pod", "toolbox", "-n", "dev", "-o", "jsonpath={.status.phase}"];
        (cluster.kubectl(ADMIN, &phase) == "Running").then_some(())
    });
    let command = ["exec", "-n", "dev", "toolbox", "--", "echo", "harmless"];
    cluster.kubectl(ADMIN, &command);
    let ended = |event: &Value| {
        text(event, "/objectRef/subresource") == "exec"
            && text(event, "/stage") == "ResponseComplete"
            && text(event, "/objectRef/name") == "toolbox"
    };
    cluster.audit_log.wait_for("the end of the session", 1, ended);
}

/// A header with a token of a service account, made by the administrator.
fn token(cluster: &Cluster, namespace: &str, account: &str) -> String {
    let token = cluster.kubectl(ADMIN, &["create", "token", account, "-n", namespace]);
    format!("Authorization: Bearer {}", token.trim())
}

fn object(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": { "name": name, "namespace": "safe" }, "spec": spec,
    })
}

fn safe_pod() -> Value {
    json!({
        "serviceAccountName": "worker",
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [{
            "name": "web",
            "image": "registry.example/web:1.28",
            "resources": { "limits": { "memory": "64Mi", "cpu": "1" } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
        }],
    })
}

/// A webhook for what nobody has.
fn webhook(name: &str, failure: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "rules": [{
                "apiGroups": ["nothing.example.com"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["things"],
            }],
            "failurePolicy": failure, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    })
}

pub(crate) fn definition(plural: &str, kind: &str, group: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}
