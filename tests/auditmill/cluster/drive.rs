//! What people do to the cluster: ordinary work, then one attack after the other.
//!
//! Each function is one labelled scenario and checks that it really happened: an attack that the
//! API server refused for another reason would make a test of its detection worthless. Users:
//! `alice` develops in `dev`, `ops` looks at everything, `ci` deploys, `kubernetes-admin` holds the
//! cluster's own certificate, `mallory` has alice's rights and no good intentions.

use std::time::Duration;

use serde_json::{Value, json};

use super::apiserver::Cluster;
use super::audit_log::text;
use super::process::until;

/// How many secrets exist in `dev`, all of which [`ATTACKS`]' `secret_reads` reads.
pub(crate) const SECRETS: usize = 20;

/// How many requests the two bursts of refused requests make.
pub(crate) const BURST: usize = 30;

/// A scenario's name and what it does.
pub(crate) type Scenario = (&'static str, fn(&Cluster));

/// The attacks in the order in which they build on each other.
pub(crate) const ATTACKS: [Scenario; 9] = [
    ("unauthorized_burst", unauthorized_burst),
    ("forbidden_burst", forbidden_burst),
    ("secret_reads", secret_reads),
    ("anonymous", anonymous),
    ("cluster_admin_binding", cluster_admin_binding),
    ("secret_list", secret_list),
    ("role_escalate", role_escalate),
    ("privileged_pod", privileged_pod),
    ("exec", exec),
];

/// Whose certificate made the cluster.
pub(crate) const ADMIN: &str = "kubernetes-admin";
/// How long one thing may take to show.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The cluster as its owner set it up: namespaces, rights, secrets. Ordinary too, nothing to find.
pub(crate) fn set_up(cluster: &Cluster) {
    cluster.kubectl(ADMIN, &["create", "namespace", "dev"]);
    cluster.kubectl(ADMIN, &["create", "namespace", "prod"]);
    for user in ["alice", "mallory", "ci"] {
        let (name, subject) = (format!("{user}-edit"), format!("--user={user}"));
        let grant = ["create", "rolebinding", &name, "--clusterrole=edit", &subject, "-n", "dev"];
        cluster.kubectl(ADMIN, &grant);
    }
    let view =
        ["create", "clusterrolebinding", "ops-view", "--clusterrole=view", "--group=operators"];
    cluster.kubectl(ADMIN, &view);
    let secret = |number| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": secret_name(number), "namespace": "dev" },
            "stringData": { "value": format!("not a secret {number}") },
        })
    };
    let items: Vec<Value> = (0..SECRETS).map(secret).collect();
    cluster.apply(ADMIN, &json!({ "apiVersion": "v1", "kind": "List", "items": items }));
    cluster.wait_until_allowed("mallory", "get", "secrets", "dev");
    until("the default service account of `dev`", LIMIT, || {
        let account = ["get", "serviceaccount", "default", "-n", "dev"];
        cluster.try_kubectl(ADMIN, &account).status.success().then_some(())
    });
}

/// A quiet day: deploying, scaling, looking around, and the odd refusal everyone meets.
pub(crate) fn ordinary_work(cluster: &Cluster) {
    let alice =
        |arguments: &[&str]| cluster.kubectl("alice", &[arguments, &["-n", "dev"]].concat());
    alice(&["create", "deployment", "web", "--image=registry.example/web:1.27", "--replicas=3"]);
    alice(&["get", "pods"]);
    alice(&["scale", "deployment", "web", "--replicas=5"]);
    alice(&["set", "image", "deployment/web", "web=registry.example/web:1.28"]);
    alice(&["expose", "deployment", "web", "--port=80"]);
    alice(&["create", "configmap", "web", "--from-literal=greeting=hello"]);
    alice(&["get", "secret", &secret_name(0)]);
    alice(&["describe", "deployment", "web"]);
    cluster.apply("ci", &plain_pod());
    let job = ["create", "job", "migrate", "--image=registry.example/web:1.28", "-n", "dev"];
    cluster.kubectl("ci", &[&job[..], &["--", "true"]].concat());
    cluster.kubectl("ops", &["get", "pods", "--all-namespaces"]);
    cluster.kubectl("ops", &["get", "events", "-n", "dev"]);
    cluster.kubectl(ADMIN, &["get", "nodes"]);
    let secret = cluster.try_kubectl("ops", &["get", "secret", &secret_name(1), "-n", "dev"]);
    assert!(!secret.status.success(), "the role `view` does not include secrets");
    let mistyped = ["--header", "Authorization: Bearer token-alicd"];
    assert_eq!(cluster.curl(&mistyped, &["/api".into()]), [401]);
    until("the pods of the plain workload to run", LIMIT, || pod_runs(cluster, "plain"));
}

fn unauthorized_burst(cluster: &Cluster) {
    let guess = |number: usize| format!("/api/v1/namespaces/dev/secrets?limit={number}");
    let paths: Vec<String> = (1..=BURST).map(guess).collect();
    let codes = cluster.curl(&["--header", "Authorization: Bearer stolen-and-expired"], &paths);
    assert_eq!(codes, [401; BURST]);
}

/// Refused requests of one person for many things.
pub(crate) fn forbidden(cluster: &Cluster) {
    forbidden_burst(cluster);
}

fn forbidden_burst(cluster: &Cluster) {
    // As many different things as a look around touches, each of them twice.
    let places = [
        "/api/v1/secrets",
        "/api/v1/nodes",
        "/api/v1/persistentvolumes",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces/kube-system/configmaps",
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/namespaces/prod/secrets",
        "/api/v1/namespaces/prod/secrets/credential-00",
        "/api/v1/namespaces/prod/pods",
        "/api/v1/namespaces/prod/configmaps",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/namespaces/prod/deployments",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    ];
    let paths: Vec<String> = places.iter().cycle().take(BURST).map(|path| (*path).into()).collect();
    let codes = cluster.curl(&["--header", "Authorization: Bearer token-mallory"], &paths);
    assert_eq!(codes, [403; BURST]);
}

fn secret_reads(cluster: &Cluster) {
    let names: Vec<String> = (0..SECRETS).map(secret_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One GET for each name.
    cluster
        .kubectl("mallory", &[&["get", "secret", "-n", "dev", "-o", "yaml"], &names[..]].concat());
}

fn anonymous(cluster: &Cluster) {
    let grant = ["create", "rolebinding", "open-to-all", "--clusterrole=view", "-n", "dev"];
    cluster.kubectl(ADMIN, &[&grant[..], &["--user=system:anonymous"]].concat());
    cluster.wait_until_allowed("system:anonymous", "list", "pods", "dev");
    let paths = ["/api/v1/namespaces/dev/pods", "/api/v1/namespaces/dev/configmaps"];
    assert_eq!(cluster.curl(&[], &paths.map(String::from)), [200, 200]);
}

fn cluster_admin_binding(cluster: &Cluster) {
    let grant = ["create", "clusterrolebinding", "mallory-admin", "--clusterrole=cluster-admin"];
    cluster.kubectl(ADMIN, &[&grant[..], &["--user=mallory"]].concat());
    cluster.wait_until_allowed("mallory", "list", "secrets", "kube-system");
}

fn secret_list(cluster: &Cluster) {
    let listed = cluster.kubectl("mallory", &["get", "secrets", "--all-namespaces", "-o", "name"]);
    assert!(SECRETS <= listed.lines().count(), "all secrets are listed: {listed}");
}

fn role_escalate(cluster: &Cluster) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "support" },
        "rules": [
            {
                "apiGroups": ["rbac.authorization.k8s.io"],
                "resources": ["clusterroles", "roles"],
                "verbs": ["escalate", "bind"],
            },
            { "apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"] },
        ],
    });
    cluster.apply("mallory", &role);
}

fn privileged_pod(cluster: &Cluster) {
    let container = json!({
        "name": "shell",
        "image": "registry.example/shell:1",
        "securityContext": { "privileged": true },
    });
    cluster.apply("mallory", &pod("toolbox", &container));
    until("the privileged pod to run", LIMIT, || pod_runs(cluster, "toolbox"));
}

fn exec(cluster: &Cluster) {
    let command = ["exec", "-n", "dev", "toolbox", "--", "sh", "-c", "echo harmless"];
    assert_eq!(cluster.kubectl("mallory", &command).trim(), "harmless");
    // The second event comes when the session is over, which may be after kubectl has ended.
    let first = cluster.audit_log.wait_for("both stages of exec", 2, is_exec);
    assert_eq!(first.pointer("/responseStatus/code"), Some(&json!(101)), "exec upgrades: {first}");
}

/// Is this an event of an exec by mallory? `exec` makes one.
pub(crate) fn is_exec(event: &Value) -> bool {
    text(event, "/objectRef/subresource") == "exec" && text(event, "/user/username") == "mallory"
}

/// The name of a secret in `dev`, counted from 0 to [`SECRETS`].
pub(crate) fn secret_name(number: usize) -> String {
    format!("credential-{number:02}")
}

fn plain_pod() -> Value {
    pod("plain", &json!({ "name": "web", "image": "registry.example/web:1.28" }))
}

fn pod(name: &str, container: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "dev" },
        // Without a scheduler a pod says itself where it runs.
        "spec": { "nodeName": "node1", "containers": [container] },
    })
}

/// Does this pod of `dev` run?
pub(crate) fn pod_runs(cluster: &Cluster, name: &str) -> Option<()> {
    let phase = ["get", "pod", name, "-n", "dev", "-o", "jsonpath={.status.phase}"];
    (cluster.kubectl(ADMIN, &phase) == "Running").then_some(())
}
