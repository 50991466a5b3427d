//! A finding as a Detection Finding, class 2004, of the Open Cybersecurity Schema Framework.
//!
//! What has no place there is in `unmapped`, so nothing is lost. `metadata.uid` tells a repeat;
//! `finding_info.uid` is the same for all revisions.

use serde_json::{Value as Json, json};

use super::{field, list, object, some, source_ip, text};
use crate::alert::sink::delivery_id;
use crate::clock::now_micros;
use crate::event::time::parse_rfc3339;
use crate::findings::record::{FindingRecord, Severity, Status};

/// The schema's version.
pub(super) const VERSION: &str = "1.3.0";
const CLASS: u64 = 2004;
/// The matrix that detections speak of.
const ATTACK_VERSION: &str = "18.0";

pub(super) fn document(finding: &FindingRecord) -> Json {
    let (activity, activity_name) = match (finding.status, finding.revision) {
        (Status::Withdrawn, _) => (3, "Close"),
        (Status::Open, 0 | 1) => (1, "Create"),
        (Status::Open, _) => (2, "Update"),
    };
    let (status, status_name) = match finding.status {
        Status::Open => (1, "New"),
        Status::Withdrawn => (4, "Resolved"),
    };
    let (severity, severity_name) = severity(finding.severity);
    let first = milliseconds(&finding.first_seen);
    let last = milliseconds(&finding.last_seen);
    object([
        ("activity_id", text(activity)),
        ("activity_name", text(activity_name)),
        ("category_uid", text(2)),
        ("category_name", text("Findings")),
        ("class_uid", text(CLASS)),
        ("class_name", text("Detection Finding")),
        ("type_uid", text(CLASS * 100 + activity)),
        ("type_name", text(format!("Detection Finding: {activity_name}"))),
        ("severity_id", text(severity)),
        ("severity", text(severity_name)),
        ("status_id", text(status)),
        ("status", text(status_name)),
        ("time", text(last.unwrap_or_else(|| now_micros() / 1_000))),
        ("start_time", text(first)),
        ("end_time", text(last)),
        ("count", text(finding.count)),
        ("message", text(&finding.summary)),
        ("metadata", Some(metadata(finding))),
        ("finding_info", Some(finding_info(finding, first, last))),
        ("evidences", Some(json!([evidence(finding)]))),
        ("resources", Some(resources(finding))),
        (
            "remediation",
            Some(&finding.respond).filter(|r| !r.is_empty()).map(|r| json!({"desc": r})),
        ),
        ("unmapped", Some(unmapped(finding))),
    ])
}

fn metadata(finding: &FindingRecord) -> Json {
    json!({
        "version": VERSION,
        "uid": delivery_id(finding),
        "product": {
            "name": "auditmill", "vendor_name": "auditmill", "version": env!("CARGO_PKG_VERSION"),
        },
        "log_name": "kubernetes audit",
    })
}

fn finding_info(finding: &FindingRecord, first: Option<i64>, last: Option<i64>) -> Json {
    let attacks = finding.attack.iter();
    let attacks = attacks.map(|id| json!({"version": ATTACK_VERSION, "technique": {"uid": id}}));
    object([
        ("uid", text(&finding.id)),
        ("title", text(&finding.title)),
        ("desc", text(&finding.summary)),
        ("types", Some(json!([finding.detection]))),
        (
            "analytic",
            Some(json!({
                "uid": finding.detection, "name": finding.title, "type_id": 1, "type": "Rule",
            })),
        ),
        ("attacks", some(attacks.collect())),
        ("first_seen_time", text(first)),
        ("last_seen_time", text(last)),
        ("data_sources", Some(json!(["Kubernetes audit events"]))),
    ])
}

/// Who did it from where, as far as the finding says, and the events behind it.
fn evidence(finding: &FindingRecord) -> Json {
    let groups = list(finding, "user_groups").into_iter().map(|name| json!({ "name": name }));
    let user = object([
        ("name", text(field(finding, "user_name"))),
        ("uid", text(field(finding, "user_uid"))),
        ("credential_uid", text(field(finding, "credential_id"))),
        ("groups", some(groups.collect())),
    ]);
    let actor = object([("user", some(user)), ("app_name", text(field(finding, "user_agent")))]);
    let endpoint = source_ip(finding).map(|ip| json!({ "ip": ip }));
    let api = field(finding, "verb").map(|verb| {
        let audit_id = finding.evidence.first().and_then(|event| event.audit_id.as_ref());
        object([
            ("operation", text(verb)),
            ("request", audit_id.map(|id| json!({ "uid": id }))),
            ("service", Some(json!({ "name": "kubernetes" }))),
        ])
    });
    object([
        ("actor", some(actor)),
        ("src_endpoint", endpoint),
        ("api", api),
        ("data", Some(json!({ "events": finding.evidence }))),
    ])
}

fn resources(finding: &FindingRecord) -> Json {
    let mut resources = vec![json!({ "type": "cluster", "name": finding.cluster })];
    if let Some(name) = field(finding, "name") {
        resources.push(object([
            ("name", text(name)),
            ("type", text(field(finding, "resource"))),
            ("namespace", text(field(finding, "namespace"))),
            ("uid", text(field(finding, "object_uid"))),
        ]));
    }
    Json::Array(resources)
}

fn unmapped(finding: &FindingRecord) -> Json {
    json!({
        "cluster": finding.cluster,
        "key": finding.key,
        "row": finding.row,
        "controls": finding.controls,
        "revision": finding.revision,
        "finding_status": finding.status,
        "incomplete": finding.incomplete,
    })
}

fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn milliseconds(time: &str) -> Option<i64> {
    parse_rfc3339(time).map(|micros| micros / 1_000)
}
