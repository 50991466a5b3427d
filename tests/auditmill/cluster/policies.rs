//! What a real API server records under a policy with every kind of rule, beside what the model
//! says of the same requests.

use std::fs;
use std::path::Path;

use auditmill::policy::document::{Level, Policy, Request, Stage, Target};
use serde_json::Value;

use super::apiserver::Cluster;
use super::audit_log::text;
use super::pki::Pki;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:anonymous"], nonResourceURLs: ["/healthz*", "/readyz*", "/livez*"]}
- {level: Metadata, nonResourceURLs: ["/version*"]}
- {level: None, nonResourceURLs: ["/apis*"]}
- level: RequestResponse
  users: [alice]
  namespaces: [dev]
  resources: [{group: "", resources: [pods, "services/*"]}, {group: apps}]
- level: None
  userGroups: [developers]
  verbs: [list]
  resources: [{group: "", resources: [secrets]}]
- level: Request
  resources: [{group: "", resources: [secrets], resourceNames: [one]}]
- {level: RequestResponse, resources: [{group: "*", resources: ["*/status"]}]}
- {level: None, resources: [{group: "", resources: ["*"]}], verbs: [watch]}
- level: Request
  omitStages: [ResponseComplete]
  resources: [{group: "", resources: [configmaps]}]
- {level: Metadata, namespaces: [""], resources: [{group: "", resources: [nodes]}]}
- {level: Metadata, userGroups: [operators]}
- {level: None, users: ["system:apiserver", "system:kube-controller-manager", "system:kwok"]}
- {level: Request, nonResourceURLs: ["*"]}
"#;

/// Requests: who, with which group, and the path with what it means.
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("alice", "developers", "/version", ""),
    ("alice", "developers", "/apis", ""),
    ("alice", "developers", "/healthz", ""),
    ("alice", "developers", "/metrics", ""),
    ("alice", "developers", "/api/v1/namespaces/dev/pods", "list :pods dev"),
    ("mallory", "developers", "/api/v1/namespaces/dev/pods", "list :pods dev"),
    ("alice", "developers", "/api/v1/namespaces/prod/pods", "list :pods prod"),
    ("alice", "developers", "/api/v1/namespaces/dev/pods/x/log", "get :pods/log dev x"),
    ("alice", "developers", "/api/v1/namespaces/dev/services/x", "get :services dev x"),
    (
        "alice",
        "developers",
        "/api/v1/namespaces/dev/services/x/status",
        "get :services/status dev x",
    ),
    (
        "alice",
        "developers",
        "/apis/apps/v1/namespaces/dev/deployments",
        "list apps:deployments dev",
    ),
    ("alice", "developers", "/api/v1/namespaces/dev/secrets", "list :secrets dev"),
    ("ops", "operators", "/api/v1/namespaces/dev/secrets", "list :secrets dev"),
    ("mallory", "developers", "/api/v1/namespaces/dev/secrets/one", "get :secrets dev one"),
    ("mallory", "developers", "/api/v1/namespaces/dev/secrets/two", "get :secrets dev two"),
    (
        "mallory",
        "developers",
        "/apis/apps/v1/namespaces/dev/deployments/x/status",
        "get apps:deployments/status dev x",
    ),
    ("mallory", "developers", "/api/v1/namespaces/dev/pods/x/status", "get :pods/status dev x"),
    (
        "mallory",
        "developers",
        "/apis/apps/v1/namespaces/dev/deployments/x/scale",
        "get apps:deployments/scale dev x",
    ),
    ("ops", "operators", "/api/v1/namespaces/dev/configmaps", "list :configmaps dev"),
    ("mallory", "developers", "/api/v1/nodes", "list :nodes"),
    ("ops", "operators", "/api/v1/namespaces/dev", "get :namespaces dev dev"),
    ("mallory", "developers", "/api/v1/namespaces/dev", "get :namespaces dev dev"),
];

/// Asks for each, and compares.
pub(crate) fn tell(bin: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let policy = dir.path().join("policy.yaml");
    fs::write(&policy, POLICY).expect("write the policy");
    let cluster = Cluster::start_under(&policy, bin, dir.path(), &pki, None);
    for (number, (user, _, path, _)) in REQUESTS.iter().enumerate() {
        let header = format!("Authorization: Bearer token-{user}");
        let answered = cluster.curl(&["--header", &header], &[format!("{path}?number={number}")]);
        assert_ne!(answered, [401], "{path}");
    }
    cluster.mark("asked");
    let model = Policy::parse(POLICY).expect("a policy");
    let lines = cluster.audit_log.lines();
    for (number, (user, group, path, words)) in REQUESTS.iter().enumerate() {
        let mark = format!("{path}?number={number}");
        let recorded: Vec<String> = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| text(event, "/requestURI") == mark)
            .map(|event| format!("{} {}", text(&event, "/level"), text(&event, "/stage")))
            .collect();
        let groups = [(*group).to_owned(), "system:authenticated".to_owned()];
        let (verb, target) = meant(words, path);
        let ruling = model.ruling(&Request { user: Some(user), groups: &groups, verb, target });
        let omitted = ruling.omitted.contains(&Stage::ResponseComplete);
        let expected = if ruling.level == Level::None || omitted {
            Vec::new()
        } else {
            vec![format!("{} ResponseComplete", ruling.level)]
        };
        assert_eq!(recorded, expected, "{user} {path} by rule {:?}", ruling.rule);
    }
}

/// `list apps:deployments dev` as verb and target.
fn meant<'a>(words: &'a str, path: &'a str) -> (&'a str, Target<'a>) {
    let mut words = words.split_whitespace();
    let Some(verb) = words.next() else { return ("get", Target::Path(path)) };
    let (group, resource) = words.next().and_then(|of| of.split_once(':')).expect("a resource");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let namespace = words.next().unwrap_or_default();
    let name = words.next().unwrap_or_default();
    (verb, Target::Resource { group, resource, subresource, namespace, name })
}
