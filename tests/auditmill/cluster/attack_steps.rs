//! What one attacker does to a cluster, from the first look around to its end.
//!
//! Each step is one deed with a name, checked to have really happened, and the detections of which
//! at least one must find it. Mallory starts with what `drive::set_up` gives (edit in `dev`) and
//! with a role that an administrator made too wide; every later right is taken. Commands that run
//! in containers are harmless: the kubelet only pretends, so they run on this very machine.

use auditmill::policy::document::{Level, Request, Stage, Target};
use serde_json::{Value, json};

use super::apiserver::Cluster;
use super::attack_end;
use super::audit_log::text;
use super::drive::{self, ADMIN, LIMIT};
use super::pki::request;
use super::process::until;

/// One step of the walk.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// The user of its events in the audit log; empty where the API server knows none.
    pub(crate) actor: &'static str,
    /// At least one of these detections finds it.
    pub(crate) found_by: &'static [&'static str],
    pub(crate) act: fn(&Cluster),
}

pub(crate) const MALLORY: &str = "mallory";
const NOBODY: &str = "";
const ANONYMOUS: &str = "system:anonymous";
/// An account of a controller: it may change every role.
pub(crate) const AGGREGATION: &str = "clusterrole-aggregation-controller";
const AGGREGATION_USER: &str =
    "system:serviceaccount:kube-system:clusterrole-aggregation-controller";
const RBAC: &str = "rbac.authorization.k8s.io";
const GUESSES: usize = 25;

/// All steps, in the order in which they build on each other.
pub(crate) const STEPS: [Step; 27] = [
    // The mistake that lets it all happen is a finding too.
    step("a role too wide", ADMIN, &["K8A-309"], too_wide_a_role),
    // Reconnaissance.
    step("anonymous probing", ANONYMOUS, &["K8A-105", "K8A-131", "K8A-704"], anonymous_probing),
    step("tokens guessed", NOBODY, &["K8A-106"], tokens_guessed),
    step("own rights asked for", MALLORY, &["K8A-701", "K8A-702"], rights_asked_for),
    step("everything listed", MALLORY, &["K8A-108", "K8A-703", "K8A-704"], everything_listed),
    // Credentials of the one namespace.
    step("secrets read", MALLORY, &["K8A-205"], secrets_read),
    step("token read by exec", MALLORY, &["K8A-408"], token_read_by_exec),
    // Escalation.
    step("role with escalate", MALLORY, &["K8A-309"], role_with_escalate),
    step("bound to cluster-admin", MALLORY, &["K8A-301", "K8A-306"], bound_to_cluster_admin),
    step("masters impersonated", MALLORY, &["K8A-123"], masters_impersonated),
    // Credentials of the whole cluster.
    step("all secrets listed", MALLORY, &["K8A-203"], all_secrets_listed),
    step("token of a controller", MALLORY, &["K8A-213", "K8A-212"], token_of_a_controller),
    step(
        "that token used elsewhere",
        AGGREGATION_USER,
        &["K8A-207", "K8A-216", "K8A-112", "K8A-113", "K8A-121"],
        token_used_elsewhere,
    ),
    step("certificate for oneself", MALLORY, &["K8A-223", "K8A-221"], certificate_for_oneself),
    // Persistence.
    step(
        "account made and bound",
        MALLORY,
        &["K8A-804", "K8A-301"],
        attack_end::account_made_and_bound,
    ),
    step("cron job", MALLORY, &["K8A-510", "K8A-513", "K8A-519"], attack_end::cron_job),
    step("mutating webhook", MALLORY, &["K8A-601", "K8A-602"], attack_end::mutating_webhook),
    step("token that never ends", MALLORY, &["K8A-215"], attack_end::token_that_never_ends),
    // Evasion.
    step("events deleted", MALLORY, &["K8A-608"], attack_end::events_deleted),
    step(
        "log forwarder stopped",
        MALLORY,
        &["K8A-528", "K8A-622"],
        attack_end::log_forwarder_stopped,
    ),
    step("pod security lowered", MALLORY, &["K8A-605"], attack_end::pod_security_lowered),
    step("grant of a moment", MALLORY, &["K8A-318"], attack_end::grant_of_a_moment),
    // Impact.
    step(
        "pod that owns its node",
        MALLORY,
        &["K8A-501", "K8A-502", "K8A-505"],
        attack_end::node_owned,
    ),
    step(
        "exec into that pod",
        MALLORY,
        &["K8A-803", "K8A-424", "K8A-405"],
        attack_end::exec_into_that_pod,
    ),
    step("name service changed", MALLORY, &["K8A-610"], attack_end::name_service_changed),
    step("much deleted", MALLORY, &["K8A-525", "K8A-211"], attack_end::much_deleted),
    step("namespace deleted", MALLORY, &["K8A-526"], attack_end::namespace_deleted),
];

const fn step(
    name: &'static str,
    actor: &'static str,
    found_by: &'static [&'static str],
    act: fn(&Cluster),
) -> Step {
    Step { name, actor, found_by, act }
}

/// What the cluster has beside `drive::set_up`: a log forwarder, a name service, a guarded
/// namespace. Ordinary.
pub(crate) fn prepare(cluster: &Cluster) {
    cluster.kubectl(ADMIN, &["create", "namespace", "logging"]);
    cluster.apply(
        ADMIN,
        &json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": FORWARDER, "namespace": "logging" },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "app": FORWARDER } },
                "template": {
                    "metadata": { "labels": { "app": FORWARDER } },
                    "spec": { "containers": [
                        { "name": "vector", "image": "docker.io/timberio/vector:0.45.0" },
                    ] },
                },
            },
        }),
    );
    let corefile = ".:53 {\n  kubernetes cluster.local\n  forward . /etc/resolv.conf\n}\n";
    cluster.apply(
        ADMIN,
        &json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "coredns", "namespace": "kube-system" },
            "data": { "Corefile": corefile },
        }),
    );
    let guard = ["label", "namespace", "dev", "pod-security.kubernetes.io/enforce=baseline"];
    cluster.kubectl(ADMIN, &guard);
}

/// A release called `audit` of the chart `vector`.
pub(crate) const FORWARDER: &str = "audit-vector";

fn too_wide_a_role(cluster: &Cluster) {
    let verbs = ["create", "get", "list", "bind", "escalate"];
    let bindings = ["create", "get", "list"];
    cluster.apply(
        ADMIN,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "team-onboarding" },
            "rules": [
                { "apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": verbs },
                { "apiGroups": [RBAC], "resources": ["clusterrolebindings"],
                  "verbs": bindings },
            ],
        }),
    );
    let grant = ["create", "clusterrolebinding", "team-onboarding", "--user=mallory"];
    cluster.kubectl(ADMIN, &[&grant[..], &["--clusterrole=team-onboarding"]].concat());
    let roles = format!("clusterroles.{RBAC}");
    cluster.wait_until_allowed(MALLORY, "escalate", &roles, "");
}

fn anonymous_probing(cluster: &Cluster) {
    let paths = [
        "/api",
        "/apis",
        "/api/v1/secrets",
        "/api/v1/pods",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/serviceaccounts",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces/default/pods",
        "/api/v1/nodes/node1/proxy/pods",
        "/apis/apps/v1/deployments",
        "/apis/batch/v1/cronjobs",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "/metrics",
        "/logs",
        "/configz",
        "/openapi/v2",
        "/debug/pprof/",
    ];
    let codes = cluster.curl(&[], &paths.map(String::from));
    assert_eq!(codes, [403; 20], "nothing is open to strangers");
}

fn tokens_guessed(cluster: &Cluster) {
    for number in 0..GUESSES {
        let token = format!("Authorization: Bearer guess-{number}");
        assert_eq!(cluster.curl(&["--header", &token], &["/api/v1/namespaces".into()]), [401]);
    }
}

fn rights_asked_for(cluster: &Cluster) {
    for namespace in ["dev", "prod", "kube-system", "default"] {
        mallory(cluster, &["auth", "can-i", "--list", "-n", namespace]);
    }
    for (verb, thing) in [
        ("create", "clusterrolebindings"),
        ("create", "pods"),
        ("create", "serviceaccounts/token"),
        ("get", "secrets"),
        ("get", "nodes/proxy"),
        ("bind", "clusterroles"),
        ("impersonate", "users"),
        ("delete", "namespaces"),
    ] {
        // "no" is an answer, and an exit status.
        cluster.try_kubectl(MALLORY, &["auth", "can-i", verb, thing, "-n", "kube-system"]);
    }
}

fn everything_listed(cluster: &Cluster) {
    for kind in [
        "pods",
        "nodes",
        "secrets",
        "namespaces",
        "configmaps",
        "serviceaccounts",
        "deployments",
        "daemonsets",
        "cronjobs",
        "roles",
        "clusterroles",
        "rolebindings",
        "clusterrolebindings",
        "services",
        "persistentvolumes",
        "validatingwebhookconfigurations",
        "certificatesigningrequests",
    ] {
        cluster.try_kubectl(MALLORY, &["get", kind, "--all-namespaces"]);
    }
    for namespace in ["kube-system", "prod", "default"] {
        let listed = cluster.try_kubectl(MALLORY, &["get", "secrets,pods", "-n", namespace]);
        assert!(!listed.status.success(), "mallory has rights in `dev` alone");
    }
}

fn secrets_read(cluster: &Cluster) {
    let names: Vec<String> = (0..drive::SECRETS).map(drive::secret_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One GET for each name.
    mallory(cluster, &[&["get", "secret", "-n", "dev", "-o", "yaml"], &names[..]].concat());
}

fn token_read_by_exec(cluster: &Cluster) {
    // There is no such file on the machine that runs this test: what counts is the request.
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    exec(cluster, "plain", &["cat", file]);
}

fn role_with_escalate(cluster: &Cluster) {
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "metrics-helper" },
            "rules": [{
                "apiGroups": [RBAC],
                "resources": ["clusterroles"],
                "verbs": ["escalate", "bind", "update", "patch"],
            }],
        }),
    );
}

fn bound_to_cluster_admin(cluster: &Cluster) {
    let grant = ["create", "clusterrolebinding", "metrics-helper", "--user=mallory"];
    mallory(cluster, &[&grant[..], &["--clusterrole=cluster-admin"]].concat());
    cluster.wait_until_allowed(MALLORY, "list", "secrets", "kube-system");
}

fn masters_impersonated(cluster: &Cluster) {
    let who = ["--as=root", "--as-group=system:masters"];
    mallory(cluster, &[&["get", "secrets", "-n", "kube-system"], &who[..]].concat());
}

fn all_secrets_listed(cluster: &Cluster) {
    let listed = mallory(cluster, &["get", "secrets", "--all-namespaces", "-o", "name"]);
    assert!(drive::SECRETS <= listed.lines().count(), "all secrets are listed: {listed}");
}

fn token_of_a_controller(cluster: &Cluster) {
    token(cluster, AGGREGATION, "48h");
}

fn token_used_elsewhere(cluster: &Cluster) {
    let header = format!("Authorization: Bearer {}", token(cluster, AGGREGATION, "49h"));
    let paths = [
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/nodes",
    ];
    let codes = cluster.curl(&["--header", &header], &paths.map(String::from));
    assert_eq!(codes, [200, 403, 403], "the account may read and change roles, no more");
}

fn certificate_for_oneself(cluster: &Cluster) {
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": { "name": "metrics-helper" },
            "spec": {
                "request": request("system:kube-controller-manager"),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }),
    );
    mallory(cluster, &["certificate", "approve", "metrics-helper"]);
    until("the certificate to be signed", LIMIT, || {
        let wanted = ["get", "csr", "metrics-helper", "-o", "jsonpath={.status.certificate}"];
        (!mallory(cluster, &wanted).is_empty()).then_some(())
    });
}

/// What kubectl prints for mallory.
pub(crate) fn mallory(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kubectl(MALLORY, arguments)
}

/// Mallory runs a command in a pod of `dev`. It may fail there; the session must have begun, which
/// is seen where the policy lets it.
pub(crate) fn exec(cluster: &Cluster, pod: &str, command: &[&str]) {
    cluster.try_kubectl(MALLORY, &[&["exec", "-n", "dev", pod, "--"], command].concat());
    let (group, resource, subresource) = ("", "pods", "exec");
    let target = Target::Resource { group, resource, subresource, namespace: "dev", name: pod };
    let asked = Request { user: Some(MALLORY), groups: &[], verb: "get", target };
    let ruling = cluster.policy.ruling(&asked);
    if ruling.level == Level::None || ruling.omitted.contains(&Stage::ResponseComplete) {
        return;
    }
    cluster.audit_log.wait_for("the session", 1, |event| {
        drive::is_exec(event)
            && text(event, "/objectRef/name") == pod
            && event.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(101)
    });
}

/// A token for an account of `kube-system`, made by mallory.
pub(crate) fn token(cluster: &Cluster, account: &str, duration: &str) -> String {
    let duration = format!("--duration={duration}");
    let token = mallory(cluster, &["create", "token", account, "-n", "kube-system", &duration]);
    token.trim().to_owned()
}
