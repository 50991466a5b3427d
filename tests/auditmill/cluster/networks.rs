//! Requests from addresses of the Internet, as a real API server sees them, beside what an operator
//! knows of addresses.
//!
//! The address that counts is that of the connection, which no header changes. So the cluster runs
//! in a network of its own, in which the networks that are set aside for documentation lead back
//! to this machine, and curl comes from any of their addresses.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::apiserver::Cluster;
use super::audit_log::text;
use super::drive::{self, ADMIN};
use super::pki::Pki;
use crate::program::run;

/// Set inside of the network.
const INSIDE: &str = "AUDITMILL_OWN_NETWORK";
/// Root may have a network of its own, others one as root in a user namespace, where the system
/// lets them.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
const SETTING_UP: &str = "ip link set lo up || exit 1
for net in 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24; do
    ip route add local $net dev lo || exit 1
done
exec \"$@\"";

/// Runs this test again where addresses are what it says.
///
/// # Panics
/// Where there is no such network: a test that silently did nothing would be a lie.
pub(crate) fn tell(bin: &Path, name: &str) {
    if env::var_os(INSIDE).is_some() {
        return inside(bin);
    }
    let entered = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way).args(["sh", "-c", SETTING_UP, "network"]);
        command
    };
    let tried = WAYS.map(|way| entered(way).arg("true").output().expect("run unshare"));
    let works = tried.iter().position(|tried| tried.status.success());
    let Some(way) = works.and_then(|place| WAYS.get(place)) else {
        let errors: Vec<_> = tried.iter().map(|of| String::from_utf8_lossy(&of.stderr)).collect();
        panic!("no network of its own here, run the tests as root: {errors:?}");
    };
    let own = env::current_exe().expect("the tests are a program");
    let mut again = entered(way);
    again.arg(own).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().expect("run the test again").success(), "inside of the network");
}

const SCANNED: &str = "K8A-116,K8A-117,K8A-118,K8A-121,K8A-134,K8A-135,K8A-136,K8A-208";
/// Lists of the operator's.
const LISTS: [(&str, &str); 4] = [
    ("cluster", "192.0.2.0/24 # nodes\n"),
    ("trusted", "198.51.100.64/26 # the office\n"),
    ("tor", "198.51.100.7\n"),
    ("malicious", "203.0.113.66\n"),
];

const OPS: &str = "Authorization: Bearer token-ops";
const ALICE: &str = "Authorization: Bearer token-alice";
const CI: &str = "Authorization: Bearer token-ci";
const MALLORY: &str = "Authorization: Bearer token-mallory";
const ACCOUNT: &str = "system:serviceaccount:dev:default";
const SECRETS: &str = "/api/v1/namespaces/dev/secrets";
const PODS: &str = "/api/v1/namespaces/dev/pods";
const SYSTEM: &str = "/api/v1/namespaces/kube-system/configmaps";

fn inside(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let mut cluster = Cluster::start(bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    let all = ["create", "clusterrolebinding", "ops", "--clusterrole=cluster-admin", "--user=ops"];
    cluster.kubectl(ADMIN, &all);
    let view = ["create", "rolebinding", "view", "--clusterrole=view", "-n", "dev"];
    cluster.kubectl(ADMIN, &[&view[..], &["--serviceaccount=dev:default"]].concat());
    cluster.wait_until_allowed("ops", "list", "secrets", "kube-system");
    cluster.wait_until_allowed(ACCOUNT, "list", "pods", "dev");
    let token = cluster.kubectl(ADMIN, &["create", "token", "default", "-n", "dev"]);
    let machine = format!("Authorization: Bearer {}", token.trim());

    habits(&cluster, &machine);
    let old = cluster.audit_log.lines().len();
    today(&cluster, &machine);
    cluster.stop_background();
    cluster.stop_apiserver();

    let log = dir.path().join("told.jsonl");
    cluster.audit_log.write_with_habits(old, &log);
    let found = found(dir.path(), &log.display().to_string());
    let expected = [
        ("K8A-116", ACCOUNT, "203.0.113.30"),
        ("K8A-117", "ops", "203.0.113.9"),
        ("K8A-118", "ci", "198.51.100.7"),
        ("K8A-121", ACCOUNT, "192.0.2.11"),
        ("K8A-134", "mallory", "203.0.113.66"),
        ("K8A-135", ACCOUNT, "203.0.113.30"),
        ("K8A-135", "ops", "203.0.113.9"),
        // Both places, each with its own country.
        ("K8A-136", ACCOUNT, "203.0.113.30 and in NL from 192.0.2.11"),
        ("K8A-136", "ops", "203.0.113.9 and in DE from 198.51.100.65"),
        ("K8A-208", "ops", "203.0.113.9"),
    ];
    // Who, and from where, and nobody else.
    let who: BTreeSet<(&str, &str)> =
        found.iter().map(|(id, user, _)| (id.as_str(), user.as_str())).collect();
    assert_eq!(who, expected.map(|(id, user, _)| (id, user)).into());
    for (id, user, address) in expected {
        let tells = |(of, who, summary): &(String, String, String)| {
            of == id && who == user && summary.contains(&format!("from {address}"))
        };
        assert!(found.iter().any(tells), "{id} {user} {address}: {found:#?}");
    }
}

/// A request from this address; its answer's code.
fn from(cluster: &Cluster, address: &str, options: &[&str], path: &str) -> u16 {
    let options = [&["--interface", address], options].concat();
    let codes = cluster.curl(&options, &[path.to_owned()]);
    *codes.first().expect("one request, one answer")
}

fn with(cluster: &Cluster, address: &str, credential: &str, path: &str) {
    assert_eq!(from(cluster, address, &["--header", credential], path), 200, "{address} {path}");
}

/// Where everybody comes from.
fn habits(cluster: &Cluster, machine: &str) {
    with(cluster, "198.51.100.20", OPS, SECRETS);
    with(cluster, "198.51.100.9", CI, "/api");
    with(cluster, "203.0.113.65", MALLORY, "/api");
    with(cluster, "198.51.100.21", ALICE, PODS);
    with(cluster, "192.0.2.10", machine, PODS);
}

fn today(cluster: &Cluster, machine: &str) {
    // As always: the same networks, the office, nodes of the cluster's, the machine itself.
    with(cluster, "198.51.100.22", ALICE, PODS);
    with(cluster, "198.51.100.23", OPS, SECRETS);
    with(cluster, "198.51.100.65", OPS, SYSTEM);
    with(cluster, "198.51.100.8", CI, "/api");
    with(cluster, "192.0.2.11", machine, PODS);
    let app = ["--user-agent", "app/1.0", "--header", machine];
    for _ in 0..3 {
        assert_eq!(from(cluster, "127.0.0.1", &app, PODS), 200);
    }
    // From places known for attacks, without a credential or with a wrong one.
    for address in ["198.51.100.7", "203.0.113.66"] {
        assert_eq!(from(cluster, address, &[], PODS), 403);
        let wrong = ["--header", "Authorization: Bearer guess"];
        assert_eq!(from(cluster, address, &wrong, PODS), 401);
    }
    // Who says so by a header comes from elsewhere all the same.
    let said = ["--header", "X-Forwarded-For: 203.0.113.66, 198.51.100.7", "--header", ALICE];
    assert_eq!(from(cluster, "198.51.100.21", &said, PODS), 200);

    with(cluster, "203.0.113.9", OPS, SECRETS);
    with(cluster, "203.0.113.9", OPS, SYSTEM);
    with(cluster, "198.51.100.7", CI, "/api");
    with(cluster, "203.0.113.66", MALLORY, "/api");
    with(cluster, "203.0.113.30", machine, PODS);
}

/// Which detections find whom, and their sentences, when the operator's files are there.
fn found(dir: &Path, log: &str) -> Vec<(String, String, String)> {
    let lists = dir.join("lists");
    fs::create_dir(&lists).expect("create a folder");
    for (name, text) in LISTS {
        fs::write(lists.join(format!("{name}.txt")), text).expect("write a list");
    }
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/addresses");
    let [asn, country] =
        ["asn.mmdb", "country.mmdb"].map(|name| known.join(name).display().to_string());
    let lists = lists.display().to_string();
    let scan = ["scan", "--shipped", SCANNED, "--format", "json", "--address-lists", &lists];
    let databases = ["--asn-database", &asn, "--country-database", &country, log];
    let ended = run(scan.iter().chain(&databases));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let finding = |line: &str| serde_json::from_str::<Value>(line).expect("a finding a line");
    let told = |finding: Value| {
        let text = |pointer| text(&finding, pointer).to_owned();
        (text("/detection"), text("/key/user_name"), text("/summary"))
    };
    ended.stdout.lines().map(finding).map(told).collect()
}
