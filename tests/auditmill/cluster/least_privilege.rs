//! A role made of what was used: it is applied, takes the place of the wide one, and is enough.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::apiserver::Cluster;
use super::audit_log::text;
use super::drive;
use super::pki::Pki;
use crate::program::run;

const ADMIN: &str = "kubernetes-admin";

/// The story: a workload under a wide role, the same under what it used of it.
pub(crate) fn tell(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let cluster = Cluster::start(bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    workload(&cluster);
    cluster.mark("used");
    let log = dir.path().join("used.jsonl");
    fs::write(&log, cluster.audit_log.lines().join("\n")).expect("write the log");
    let log = log.to_string_lossy();
    let ended = run(["rbac", "suggest", "--user", "ci", &log]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("\"*\""), "{}", ended.stdout);
    assert!(ended.stdout.contains("ci-edit"), "its binding is told of: {}", ended.stdout);
    let file = dir.path().join("suggested.yaml");
    fs::write(&file, &ended.stdout).expect("write the roles");
    let file = file.to_string_lossy();
    cluster.kubectl(ADMIN, &["apply", "--dry-run=server", "-f", &file]);
    cluster.kubectl(ADMIN, &["apply", "-f", &file]);
    cluster.kubectl(ADMIN, &["delete", "rolebinding", "ci-edit", "-n", "dev"]);
    for thing in ["deployment/shop", "service/shop", "configmap/shop", "pod/plain", "job/once"] {
        cluster.kubectl(ADMIN, &["delete", thing, "-n", "dev", "--wait=true", "--force"]);
    }
    // What it never did it may not do any more.
    super::process::until("the wide role to be gone", std::time::Duration::from_mins(1), || {
        let denied = cluster.try_kubectl("ci", &["delete", "configmap", "x", "-n", "dev"]);
        String::from_utf8_lossy(&denied.stderr).contains("forbidden").then_some(())
    });
    cluster.mark("taken_away");
    workload(&cluster);
    cluster.mark("used_again");
    let lines = cluster.audit_log.lines();
    let again = lines.iter().skip_while(|line| !line.contains("mark=taken_away"));
    let mut requests = 0;
    for line in again {
        let event: Value = serde_json::from_str(line).expect("a line is one event");
        if text(&event, "/user/username") == "ci" {
            requests += 1;
            assert_ne!(event.pointer("/responseStatus/code"), Some(&json!(403)), "{line}");
        }
    }
    assert!(requests > 10, "{requests}");
}

fn workload(cluster: &Cluster) {
    let ci = |arguments: &[&str]| cluster.kubectl("ci", &[&["-n", "dev"], arguments].concat());
    ci(&["create", "deployment", "shop", "--image=registry.example/shop:1"]);
    ci(&["scale", "deployment", "shop", "--replicas=2"]);
    ci(&["set", "image", "deployment/shop", "shop=registry.example/shop:2"]);
    ci(&["get", "pods"]);
    ci(&["get", "secret", "credential-03"]);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "shop", "namespace": "dev" }, "data": { "a": "b" },
    });
    let file = tempfile::NamedTempFile::new().expect("create a file");
    fs::write(file.path(), map.to_string()).expect("write a manifest");
    let file = file.path().to_string_lossy();
    // Server-side apply makes the object by a patch.
    ci(&["apply", "--server-side", "-f", &file]);
    ci(&["expose", "deployment", "shop", "--port=80"]);
    ci(&["create", "job", "once", "--image=registry.example/shop:2"]);
    cluster.apply(
        "ci",
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "plain", "namespace": "dev" },
            "spec": {
                "nodeName": "node1",
                "containers": [{ "name": "web", "image": "registry.example/web:1" }],
            },
        }),
    );
    super::process::until("the pod to run", std::time::Duration::from_mins(1), || {
        let phase = ["get", "pod", "plain", "-n", "dev", "-o", "jsonpath={.status.phase}"];
        (cluster.kubectl("ci", &phase) == "Running").then_some(())
    });
    ci(&["exec", "plain", "--", "echo", "harmless"]);
}
