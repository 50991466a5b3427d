//! Deeds with what guards a cluster: admission, networks, and the cluster's own parts.

use auditmill::policy::document::{Level, Request, Stage, Target};
use serde_json::{Value, json};

use super::apiserver::Cluster;
use super::attack_steps::{MALLORY, mallory};
use super::deeds::{MINE, SHOP, apply, namespace, object};
use super::drive::LIMIT;
use super::hardening::definition;
use super::process::until;

/// Kinds that a cluster does not have by itself: plural, kind, group.
const KINDS: [(&str, &str, &str); 8] = [
    ("peerauthentications", "PeerAuthentication", "security.istio.io"),
    ("vulnerabilityreports", "VulnerabilityReport", "aquasecurity.github.io"),
    ("policies", "Policy", "kyverno.io"),
    ("policyexceptions", "PolicyException", "kyverno.io"),
    ("secretstores", "SecretStore", "external-secrets.io"),
    ("backups", "Backup", "velero.io"),
    ("applications", "Application", "argoproj.io"),
    ("gadgets", "Gadget", "shop.example"),
];

/// Makes these kinds.
pub(super) fn definitions(cluster: &Cluster) {
    let all: Vec<Value> =
        KINDS.iter().map(|(plural, kind, group)| definition(plural, kind, group)).collect();
    apply(cluster, &all);
    let wait = ["wait", "--for=condition=established", "--timeout=20s", "crd", "--all"];
    mallory(cluster, &wait);
}

fn webhook(name: &str, config: &Value, failure: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": format!("{name}.example.com"), "clientConfig": config,
            "rules": [{
                "apiGroups": ["shop.example"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["gadgets"],
            }],
            "failurePolicy": failure, "sideEffects": "None", "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
        }],
    })
}

pub(super) fn admission(cluster: &Cluster) {
    let nobody = json!({ "url": "https://127.0.0.1:9/" });
    let outside = json!({ "url": "https://hooks.evil.example/" });
    apply(cluster, &[webhook("guard", &nobody, "Fail"), webhook("away", &outside, "Ignore")]);
    apply(cluster, &[webhook("guard", &nobody, "Ignore")]);
    // Nobody answers it, and the object is let in all the same.
    apply(cluster, &[object("shop.example/v1", "Gadget", "one", &json!({}))]);
    let match_maps = json!({ "resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"],
    }] });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "no-such-map" },
        "spec": {
            "matchConstraints": match_maps,
            "validations": [{ "expression": "object.metadata.name != 'such'" }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "no-such-map" },
        "spec": { "policyName": "no-such-map", "validationActions": ["Audit"] },
    });
    apply(cluster, &[policy, binding]);
    until("the policy to hold", LIMIT, || {
        mallory(cluster, &["create", "configmap", "such", "-n", SHOP]);
        mallory(cluster, &["delete", "configmap", "such", "-n", SHOP]);
        let told = cluster.audit_log.lines();
        let holds = told.iter().any(|line| line.contains("validation_failure"));
        (holds || !records_maps(cluster)).then_some(())
    });
    mallory(cluster, &["delete", "validatingadmissionpolicybinding", "no-such-map"]);
    mallory(cluster, &["delete", "validatingadmissionpolicy", "no-such-map"]);
    mallory(cluster, &["delete", "validatingwebhookconfiguration", "guard"]);
    apply(
        cluster,
        &[
            object("kyverno.io/v1", "Policy", "pods", &json!({ "x": "Enforce" })),
            object("kyverno.io/v1", "PolicyException", "mine", &json!({})),
        ],
    );
    mallory(cluster, &["delete", "policies.kyverno.io", "pods", "-n", SHOP]);
}

/// Whether the making of a config map is seen.
fn records_maps(cluster: &Cluster) -> bool {
    let (group, resource, subresource) = ("", "configmaps", "");
    let target = Target::Resource { group, resource, subresource, namespace: SHOP, name: "" };
    let asked = Request { user: Some(MALLORY), groups: &[], verb: "create", target };
    let ruling = cluster.policy.ruling(&asked);
    ruling.level > Level::None && !ruling.omitted.contains(&Stage::ResponseComplete)
}

fn service(name: &str, spec: &Value) -> Value {
    let mut all = json!({ "ports": [{ "port": 80 }], "selector": { "app": name } });
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    object("v1", "Service", name, &all)
}

fn ingress(name: &str, annotations: &Value) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let rule = json!({ "host": "web.example", "http": { "paths": [path] } });
    let mut ingress = object("networking.k8s.io/v1", "Ingress", name, &json!({ "rules": [rule] }));
    ingress["metadata"]["annotations"] = annotations.clone();
    ingress
}

pub(super) fn network(cluster: &Cluster) {
    let network =
        |name: &str, spec: &Value| object("networking.k8s.io/v1", "NetworkPolicy", name, spec);
    let metadata = json!([{ "to": [{ "ipBlock": { "cidr": "169.254.169.254/32" } }] }]);
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    let mut all: Vec<Value> =
        (0..5).map(|number| network(&format!("closed-{number}"), &closed)).collect();
    all.extend([
        network("open", &json!({ "podSelector": {}, "ingress": [{}] })),
        network("clouds", &json!({ "podSelector": {}, "egress": metadata })),
        service("node-port", &json!({ "type": "NodePort" })),
        service("claims", &json!({ "externalIPs": ["198.51.100.7"] })),
        service("kubernetes-dashboard", &json!({ "type": "LoadBalancer" })),
        service("kept", &json!({})),
        service("by-hand", &json!({ "selector": null })),
        ingress("plain", &json!({})),
        ingress(
            "snippet",
            &json!({ "nginx.ingress.kubernetes.io/configuration-snippet": "return 200;" }),
        ),
        ingress(
            "breaks",
            &json!({ "nginx.ingress.kubernetes.io/auth-url": "http://x/;\n}\nload_module x" }),
        ),
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": { "name": "by-hand", "namespace": SHOP },
            "subsets": [{ "addresses": [{ "ip": "198.51.100.7" }], "ports": [{ "port": 80 }] }],
        }),
        object("security.istio.io/v1", "PeerAuthentication", "strict", &json!({})),
    ]);
    apply(cluster, &all);
    for number in 0..5 {
        mallory(cluster, &["delete", "networkpolicy", &format!("closed-{number}"), "-n", SHOP]);
    }
    mallory(cluster, &["delete", "peerauthentication", "strict", "-n", SHOP]);
    let slices = ["get", "endpointslices", "-n", SHOP, "-l", "kubernetes.io/service-name=kept"];
    until("the service to have endpoints", LIMIT, || {
        let name = mallory(cluster, &[&slices[..], &["-o", "name"]].concat());
        let name = name.lines().next()?.to_owned();
        let ports = json!({ "ports": [{ "name": "", "port": 81, "protocol": "TCP" }] }).to_string();
        mallory(cluster, &["patch", &name, "-n", SHOP, "--type=merge", "-p", &ports]);
        Some(())
    });
}

pub(super) fn cluster(cluster: &Cluster) {
    let node =
        |name: &str| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    let names: Vec<String> = (2..7).map(|number| format!("node{number}")).collect();
    let mut all: Vec<Value> = names.iter().map(|name| node(name)).collect();
    let map = |place: &str, name: &str, data: &Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": place }, "data": data,
        })
    };
    let quota = object("v1", "ResourceQuota", "limits", &json!({ "hard": { "pods": "500" } }));
    all.extend([
        namespace("kube-systern"),
        quota,
        map("kube-system", "kubeadm-config", &json!({ "ClusterConfiguration": "x" })),
        map(SHOP, "falco", &json!({ "falco.yaml": "rules: [some]" })),
        object("aquasecurity.github.io/v1", "VulnerabilityReport", "web", &json!({})),
        object("external-secrets.io/v1", "SecretStore", "vault", &json!({ "x": "here" })),
        object("velero.io/v1", "Backup", "daily", &json!({})),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": "v1.metrics.example" },
            "spec": {
                "group": "metrics.example", "version": "v1", "groupPriorityMinimum": 100,
                "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": { "name": "web", "namespace": SHOP },
            },
        }),
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "kube-scheduler", "namespace": "kube-system" },
            "spec": { "holderIdentity": "me" },
        }),
    ]);
    apply(cluster, &all);
    let changed = [
        map("kube-system", "kubeadm-config", &json!({ "ClusterConfiguration": "y" })),
        map(SHOP, "falco", &json!({ "falco.yaml": "rules: []" })),
        object("external-secrets.io/v1", "SecretStore", "vault", &json!({ "x": "elsewhere" })),
    ];
    apply(cluster, &changed);
    let service = json!({ "spec": { "service": { "name": "evil", "namespace": SHOP } } });
    let moved = ["patch", "apiservice", "v1.metrics.example", "--type=merge", "-p"];
    mallory(cluster, &[&moved[..], &[&service.to_string()]].concat());
    mallory(cluster, &["delete", "apiservice", "v1.metrics.example"]);
    for (kind, name) in [("resourcequota", "limits"), ("vulnerabilityreport", "web")] {
        mallory(cluster, &["delete", kind, name, "-n", SHOP]);
    }
    mallory(cluster, &["delete", "crd", "applications.argoproj.io"]);
    mallory(cluster, &["taint", "node", "node1", "mine=yes:NoSchedule"]);
    for name in &names {
        mallory(cluster, &["cordon", name]);
    }
    let options = ["--request", "DELETE", "--header", MINE];
    let collections = [
        format!("/api/v1/namespaces/{SHOP}/configmaps"),
        format!("/apis/velero.io/v1/namespaces/{SHOP}/backups"),
    ];
    assert_eq!(cluster.curl(&options, &collections), [200, 200]);
}
