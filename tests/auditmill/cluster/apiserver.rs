//! A Kubernetes cluster of real programs on the loopback address.
//!
//! etcd, kube-apiserver with the shipped audit policy, kube-controller-manager, and kwok playing
//! the kubelet of `node1`: pods with that node name become Running and exec into them really
//! upgrades the connection (101). There is no scheduler; other pods stay Pending.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use auditmill::policy::document::Policy;
use serde_json::{Value, json};

use super::audit_log::AuditLog;
use super::etcd::{flag, start_etcd};
use super::kubeconfig::{kubeconfig, kubeconfig_json, write_kubeconfig};
use super::pki::{Identity, Pki};
use super::process::{Process, free_port, start_listening, until};

pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// The users that hold static tokens: name, token, group. Test tokens, good for nothing else.
const TOKENS: [(&str, &str, &str); 4] = [
    ("alice", "token-alice", "developers"),
    ("mallory", "token-mallory", "developers"),
    ("ops", "token-ops", "operators"),
    ("ci", "token-ci", "automation"),
];

/// The identity of `node1`. The kubelet, which only pretends, has another.
pub(crate) const NODE: &str = "system:node:node1";

/// Another owner's certificate, which lies in a safe.
pub(crate) const SPARE: &str = "spare-admin";

/// Where the API server sends its audit events.
pub(crate) struct Webhook<'a> {
    /// The address with its path, which names the cluster.
    pub(crate) url: &'a str,
    /// The client certificate it shows there.
    pub(crate) identity: &'a Identity,
}

/// A running cluster. Dropping it ends every process of it.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    ca_cert: PathBuf,
    port: u16,
    /// What the API server's own log backend wrote.
    pub(crate) audit_log: AuditLog,
    /// Which requests it writes.
    pub(crate) policy: Policy,
    // Dropped in this order: clients before servers, so that no log fills with refused connections.
    controllers: Option<Process>,
    kubelet: Option<Process>,
    apiserver: Process,
    _etcd: Process,
}

/// The folder of the cluster's programs; `None` says that these tests are not wanted here.
///
/// # Panics
/// Under `CI` without `AUDITMILL_CLUSTER_BIN`: there the tests must run.
pub(crate) fn programs() -> Option<PathBuf> {
    let bin = env::var_os("AUDITMILL_CLUSTER_BIN").map(PathBuf::from);
    if bin.is_none() {
        assert!(env::var_os("CI").is_none(), "AUDITMILL_CLUSTER_BIN is not set, but CI is");
        println!("skipped: AUDITMILL_CLUSTER_BIN is not set (tests/cluster/build.sh fills it)");
    }
    bin
}

impl Cluster {
    /// Starts everything and waits until `node1` is Ready.
    pub(crate) fn start(bin: &Path, dir: &Path, pki: &Pki, webhook: Option<&Webhook>) -> Self {
        let policy =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("deployments").join("audit-policy.yaml");
        Self::start_under(&policy, bin, dir, pki, webhook)
    }

    /// As [`Self::start`], under another audit policy.
    pub(crate) fn start_under(
        policy: &Path,
        bin: &Path,
        dir: &Path,
        pki: &Pki,
        webhook: Option<&Webhook>,
    ) -> Self {
        let (etcd, etcd_port) = start_etcd(bin, dir);
        let mut setup = ApiServer::new(bin, dir, pki, etcd_port, webhook);
        policy.clone_into(&mut setup.policy);
        let (apiserver, port) = setup.start();
        for (user, token, _) in TOKENS {
            write_kubeconfig(dir, user, port, pki, &json!({ "token": token }));
        }
        let masters = Some("system:masters");
        for (user, group) in [
            ("kubernetes-admin", masters),
            ("system:kwok", masters),
            ("system:kube-controller-manager", None),
            (NODE, Some("system:nodes")),
            (SPARE, masters),
        ] {
            let identity = pki.client(user, group);
            let shown = json!({ "client-certificate": identity.cert, "client-key": identity.key });
            write_kubeconfig(dir, user, port, pki, &shown);
        }
        let mut cluster = Self {
            bin: bin.to_owned(),
            dir: dir.to_owned(),
            ca_cert: pki.ca_cert(),
            port,
            audit_log: AuditLog::new(&dir.join("audit.jsonl")),
            policy: Policy::parse(&fs::read_to_string(policy).expect("the policy can be read"))
                .expect("the policy is one"),
            controllers: None,
            kubelet: None,
            apiserver,
            _etcd: etcd,
        };
        cluster.controllers = Some(cluster.start_controllers(pki, &setup.signing));
        cluster.apply("kubernetes-admin", &node());
        cluster.kubelet = Some(cluster.start_kubelet(&setup.serving));
        cluster.wait_until_node_ready();
        cluster
    }

    /// Runs kubectl as `user`; its output must be looked at by the caller.
    pub(crate) fn try_kubectl(&self, user: &str, arguments: &[&str]) -> Output {
        self.kubectl_command(user, arguments).output().expect("run kubectl")
    }

    /// Runs kubectl as `user` and gives what it printed; panics when it fails.
    pub(crate) fn kubectl(&self, user: &str, arguments: &[&str]) -> String {
        let output = self.try_kubectl(user, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?} as {user}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `kubectl apply` of `manifest` as `user`.
    pub(crate) fn apply(&self, user: &str, manifest: &Value) {
        let path = self.dir.join("manifest.json");
        fs::write(&path, manifest.to_string()).expect("write a manifest");
        self.kubectl(user, &["apply", "-f", &path.to_string_lossy()]);
    }

    /// One GET per path by curl, all on one connection, with `options` such as a header. Gives the
    /// status codes.
    pub(crate) fn curl(&self, options: &[&str], paths: &[String]) -> Vec<u16> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--write-out", "%{http_code}\\n"]);
        command.arg("--cacert").arg(&self.ca_cert).args(options);
        for path in paths {
            command.args(["--output", "/dev/null"]);
            command.arg(format!("https://127.0.0.1:{}{path}", self.port));
        }
        let output = command.output().expect("run curl");
        let codes = String::from_utf8_lossy(&output.stdout).into_owned();
        codes.lines().map(|code| code.parse().expect("curl prints a status code")).collect()
    }

    /// A request nobody else makes, seen in the audit log: what came before it is in there too.
    pub(crate) fn mark(&self, name: &str) {
        let path = mark_path(name);
        self.curl(&["--header", "Authorization: Bearer token-ops"], std::slice::from_ref(&path));
        self.audit_log.wait_for(&path, 1, |event| event["requestURI"] == path.as_str());
    }

    /// Waits until the authorizer knows of a binding made a moment ago, for `resource` or
    /// `resource.group`. Asking on behalf of others leaves no denied request behind.
    pub(crate) fn wait_until_allowed(
        &self,
        user: &str,
        verb: &str,
        resource: &str,
        namespace: &str,
    ) {
        let path = self.dir.join("review.json");
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let question = json!({
            "verb": verb,
            "resource": resource,
            "group": group,
            "namespace": namespace,
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": { "user": user, "resourceAttributes": question },
        });
        fs::write(&path, review.to_string()).expect("write a review");
        let file = path.to_string_lossy();
        let ask = ["create", "-f", &file, "-o", "jsonpath={.status.allowed}"];
        until(&format!("{user} to be allowed to {verb} {resource}"), START_LIMIT, || {
            (self.kubectl("kubernetes-admin", &ask) == "true").then_some(())
        });
    }

    /// The value of `apiserver_audit_error_total` over all plugins: events that were lost.
    pub(crate) fn audit_errors(&self) -> f64 {
        let metrics = self.kubectl("kubernetes-admin", &["get", "--raw", "/metrics"]);
        assert!(metrics.contains("apiserver_audit_event_total"), "these are not the metrics");
        let lines = metrics.lines().filter(|line| line.starts_with("apiserver_audit_error_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Ends what makes requests on its own; the API server keeps running.
    pub(crate) fn stop_background(&mut self) {
        self.kubelet = None;
        self.controllers = None;
    }

    /// Ends the API server the polite way, so that it sends what it still holds.
    pub(crate) fn stop_apiserver(&mut self) {
        self.apiserver.stop(START_LIMIT);
    }

    fn kubectl_command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("kubectl"));
        // Its discovery cache and anything else it likes to keep stays in the test's folder.
        command.env("HOME", &self.dir).env_remove("KUBECONFIG").stdin(Stdio::null());
        command.arg("--kubeconfig").arg(kubeconfig(&self.dir, user));
        command.arg("--request-timeout=20s").args(arguments);
        command
    }

    fn start_controllers(&self, pki: &Pki, signing: &Identity) -> Process {
        let mut command = Command::new(self.bin.join("kube-controller-manager"));
        command.arg(flag("kubeconfig", &kubeconfig(&self.dir, "system:kube-controller-manager")));
        command.arg(flag("service-account-private-key-file", &signing.key));
        command.arg(flag("root-ca-file", &pki.ca_cert()));
        command.arg(flag("cluster-signing-cert-file", &pki.ca_cert()));
        command.arg(flag("cluster-signing-key-file", &pki.ca_key()));
        // One identity per controller, as in a real cluster. Nobody asks it for anything: no port.
        command.args(["--use-service-account-credentials", "--leader-elect=false"]);
        command.args(["--secure-port=0"]);
        Process::spawn("kube-controller-manager", &mut command, &self.dir)
    }

    fn start_kubelet(&self, serving: &Identity) -> Process {
        let config = self.dir.join("kwok.yaml");
        let stages = self.bin.join("kwok-stages.yaml");
        let stages = fs::read_to_string(&stages).expect("kwok-stages.yaml beside the programs");
        // exec runs the command on this very machine: the drive only ever asks for an echo.
        let exec = json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterExec",
            "metadata": { "name": "any" },
            "spec": { "execs": [{ "local": { "workDir": "/tmp" } }] },
        });
        let logs = json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": { "name": "any" },
            "spec": { "logs": [{ "logsFile": "/dev/null" }] },
        });
        fs::write(&config, format!("{exec}\n---\n{logs}\n{stages}"))
            .expect("write kwok's configuration");
        let spawn = || {
            let port = free_port();
            let mut command = Command::new(self.bin.join("kwok"));
            command.arg(flag("kubeconfig", &kubeconfig(&self.dir, "system:kwok")));
            command.arg(flag("config", &config));
            command.arg(flag("tls-cert-file", &serving.cert));
            command.arg(flag("tls-private-key-file", &serving.key));
            command.args(["--manage-all-nodes=true", "--node-ip=127.0.0.1", "--node-name=node1"]);
            command.arg(format!("--node-port={port}"));
            command.arg(format!("--server-address=127.0.0.1:{port}"));
            (Process::spawn("kwok", &mut command, &self.dir), port)
        };
        let healthy = |port: &u16| {
            let url = format!("http://127.0.0.1:{port}/healthz");
            let answer = Command::new("curl").args(["--silent", "--fail", &url]).output();
            answer.expect("run curl").status.success()
        };
        start_listening(START_LIMIT, spawn, healthy).0
    }

    fn wait_until_node_ready(&self) {
        let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        until("node1 to be Ready", START_LIMIT, || {
            let status =
                self.kubectl("kubernetes-admin", &["get", "node", "node1", "-o", condition]);
            (status == "True").then_some(())
        });
    }
}

/// What kube-apiserver needs before it can start.
struct ApiServer<'a> {
    bin: &'a Path,
    dir: &'a Path,
    ca_cert: PathBuf,
    serving: Identity,
    signing: Identity,
    etcd_port: u16,
    webhook: Option<PathBuf>,
    policy: PathBuf,
}

impl<'a> ApiServer<'a> {
    fn new(
        bin: &'a Path,
        dir: &'a Path,
        pki: &Pki,
        etcd_port: u16,
        webhook: Option<&Webhook>,
    ) -> Self {
        let lines = TOKENS.map(|(user, token, group)| format!("{token},{user},{user},{group}\n"));
        fs::write(dir.join("tokens.csv"), lines.concat()).expect("write the tokens");
        let webhook = webhook.map(|webhook| {
            let path = dir.join("audit-webhook.kubeconfig");
            let user = json!({
                "client-certificate": webhook.identity.cert,
                "client-key": webhook.identity.key,
            });
            let config = kubeconfig_json(webhook.url, &pki.ca_cert(), &user);
            fs::write(&path, config.to_string()).expect("write the webhook's kubeconfig");
            path
        });
        Self {
            bin,
            dir,
            ca_cert: pki.ca_cert(),
            serving: pki.server("kube-apiserver"),
            signing: pki.signing_keys("service-accounts"),
            etcd_port,
            webhook,
            policy: PathBuf::new(),
        }
    }

    fn start(&self) -> (Process, u16) {
        let ready = |port: &u16| {
            // Anonymous and to a health path: the audit policy leaves this request out.
            let url = format!("https://127.0.0.1:{port}/readyz");
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--cacert"]).arg(&self.ca_cert).arg(url);
            curl.output().expect("run curl").status.success()
        };
        start_listening(START_LIMIT, || self.spawn(free_port()), ready)
    }

    fn spawn(&self, port: u16) -> (Process, u16) {
        let mut command = Command::new(self.bin.join("kube-apiserver"));
        command.arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port));
        command.arg(format!("--secure-port={port}"));
        // A loopback address may not be an endpoint of the service `kubernetes`; it needs none.
        command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]);
        command
            .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16"]);
        command.args(["--authorization-mode=Node,RBAC", "--anonymous-auth=true"]);
        command.args(["--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"]);
        command.arg(flag("tls-cert-file", &self.serving.cert));
        command.arg(flag("tls-private-key-file", &self.serving.key));
        command.arg(flag("client-ca-file", &self.ca_cert));
        command.arg(flag("token-auth-file", &self.dir.join("tokens.csv")));
        command.arg(flag("kubelet-client-certificate", &self.serving.cert));
        command.arg(flag("kubelet-client-key", &self.serving.key));
        command.arg("--kubelet-preferred-address-types=InternalIP");
        command.arg("--service-account-issuer=https://kubernetes.default.svc");
        command.arg(flag("service-account-key-file", &self.signing.cert));
        command.arg(flag("service-account-signing-key-file", &self.signing.key));
        command.arg(flag("audit-policy-file", &self.policy));
        command.arg(flag("audit-log-path", &self.dir.join("audit.jsonl")));
        // Events above 100 KiB lose their bodies, as the webhook's do.
        command.args(["--audit-log-mode=blocking", "--audit-log-truncate-enabled"]);
        if let Some(webhook) = &self.webhook {
            command.arg(flag("audit-webhook-config-file", webhook));
            command.args(["--audit-webhook-batch-max-wait=1s", "--audit-webhook-truncate-enabled"]);
        }
        (Process::spawn("kube-apiserver", &mut command, self.dir), port)
    }
}

/// The path of a request that marks a place in the audit log.
pub(crate) fn mark_path(name: &str) -> String {
    format!("/version?mark={name}")
}

fn node() -> Value {
    let room = json!({ "cpu": "8", "memory": "16Gi", "pods": "50" });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "node1", "annotations": { "kwok.x-k8s.io/node": "fake" } },
        "status": { "capacity": room, "allocatable": room },
    })
}
