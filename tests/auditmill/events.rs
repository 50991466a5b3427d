//! Audit events and bodies to send.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lines of the log that a real API server wrote.
pub(crate) fn recorded_lines() -> Vec<String> {
    let path = repository("testdata/events/realcluster/audit.jsonl");
    let text = std::fs::read_to_string(path).expect("read the recording");
    text.lines().map(str::to_owned).collect()
}

/// A person's read of a config map: an event that nothing fires on. `number` makes it one of a
/// kind and sets its time, in seconds.
pub(crate) fn read(number: u32) -> Value {
    json!({
        "level": "Metadata",
        "auditID": format!("read-{number}"),
        "stage": "ResponseComplete",
        "requestURI": format!("/api/v1/namespaces/dev/configmaps/c{number}"),
        "verb": "get",
        "user": {"username": "alice", "groups": ["developers", "system:authenticated"]},
        "sourceIPs": ["10.0.0.1"],
        "userAgent": "kubectl/v1.36.3",
        "objectRef": {
            "resource": "configmaps", "namespace": "dev", "name": format!("c{number}"),
            "apiVersion": "v1"
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": time(number),
        "stageTimestamp": time(number),
        "annotations": {"authorization.k8s.io/decision": "allow"}
    })
}

/// A shell in a pod of its own: K8A-401 makes one finding of each `number`.
pub(crate) fn exec(number: u32) -> Value {
    let mut event = read(number);
    let changes = [
        ("auditID", json!(format!("exec-{number}"))),
        ("stage", json!("ResponseStarted")),
        ("requestURI", json!(format!("/api/v1/namespaces/dev/pods/p{number}/exec?command=sh"))),
        ("user", json!({"username": "mallory", "groups": ["system:authenticated"]})),
        ("responseStatus", json!({"metadata": {}, "code": 101})),
        (
            "objectRef",
            json!({
                "resource": "pods", "namespace": "dev", "name": format!("p{number}"),
                "apiVersion": "v1", "subresource": "exec"
            }),
        ),
    ];
    for (member, value) in changes {
        event[member] = value;
    }
    event
}

/// Somebody of its own, `p{number}`, makes somebody an administrator: K8A-301 makes one finding of
/// each `number`, which is worth calling somebody.
pub(crate) fn grant(number: u32) -> Value {
    let mut event = read(number);
    let binding = format!("b{number}");
    let changes = [
        ("level", json!("RequestResponse")),
        ("auditID", json!(format!("grant-{number}"))),
        ("verb", json!("create")),
        ("requestURI", json!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")),
        ("user", json!({"username": format!("p{number}"), "groups": ["system:authenticated"]})),
        ("responseStatus", json!({"metadata": {}, "code": 201})),
        (
            "annotations",
            json!({
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": "RBAC: allowed by ClusterRoleBinding \"owners\""
            }),
        ),
        (
            "objectRef",
            json!({
                "resource": "clusterrolebindings", "name": binding, "apiVersion": "v1",
                "apiGroup": "rbac.authorization.k8s.io"
            }),
        ),
        (
            "requestObject",
            json!({
                "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
                "metadata": {"name": binding},
                "subjects": [{"kind": "User", "name": "eve"}],
                "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}
            }),
        ),
    ];
    for (member, value) in changes {
        event[member] = value;
    }
    event
}

/// The read of a secret: K8A-205 fires on 15 different ones within ten minutes.
pub(crate) fn secret(number: u32) -> Value {
    let mut event = read(number);
    event["auditID"] = json!(format!("secret-{number}"));
    event["requestURI"] = json!(format!("/api/v1/namespaces/dev/secrets/s{number}"));
    event["objectRef"]["resource"] = json!("secrets");
    event["objectRef"]["name"] = json!(format!("s{number}"));
    event
}

/// A body as the API server's webhook sends it.
pub(crate) fn list<T: ToString>(events: &[T]) -> String {
    let items: Vec<String> = events.iter().map(ToString::to_string).collect();
    let items = items.join(",");
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}"#
    )
}

/// `seconds` after a fixed time, as Kubernetes writes it.
pub(crate) fn time(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("2026-03-01T{hours:02}:{minutes:02}:{seconds:02}.000000Z")
}
