//! A finding as a document of the Elastic Common Schema. What has no place there is under
//! `auditmill`, as the schema asks of fields of one's own.

use serde_json::{Value as Json, json};

use super::{field, list, object, some, source_ip, text};
use crate::alert::sink::delivery_id;
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::findings::record::{FindingRecord, Severity};

/// The schema's version.
pub(super) const VERSION: &str = "8.17.0";

pub(super) fn document(finding: &FindingRecord) -> Json {
    let first = Some(&finding.first_seen).filter(|time| !time.is_empty());
    let last = Some(&finding.last_seen).filter(|time| !time.is_empty());
    let (severity, risk) = severity(finding.severity);
    let time = last.cloned().unwrap_or_else(|| rfc3339(now_micros()));
    object([
        ("@timestamp", text(time)),
        ("ecs", Some(json!({ "version": VERSION }))),
        ("message", text(&finding.summary)),
        (
            "event",
            Some(object([
                ("kind", text("alert")),
                ("category", Some(json!(["intrusion_detection"]))),
                ("type", Some(json!(["info"]))),
                ("id", text(delivery_id(finding))),
                ("action", text(&finding.detection)),
                ("dataset", text("auditmill.finding")),
                ("module", text("auditmill")),
                ("provider", text("kubernetes audit")),
                ("reason", text(&finding.summary)),
                ("severity", text(severity)),
                ("risk_score", text(risk)),
                ("start", text(first)),
                ("end", text(last)),
            ])),
        ),
        ("rule", Some(json!({ "id": finding.detection, "name": finding.title }))),
        ("threat", threat(finding)),
        ("user", some(user(finding))),
        ("source", source_ip(finding).map(|ip| json!({ "ip": ip }))),
        ("user_agent", field(finding, "user_agent").map(|text| json!({ "original": text }))),
        ("orchestrator", Some(orchestrator(finding))),
        ("related", some(related(finding))),
        ("observer", Some(json!({ "product": "auditmill", "vendor": "auditmill", "type": "ids" }))),
        ("auditmill", Some(json!({ "finding": finding }))),
    ])
}

fn threat(finding: &FindingRecord) -> Option<Json> {
    if finding.attack.is_empty() {
        return None;
    }
    let mut techniques: Vec<&str> =
        finding.attack.iter().filter_map(|id| id.split('.').next()).collect();
    techniques.dedup();
    let subtechniques: Vec<&String> = finding.attack.iter().filter(|id| id.contains('.')).collect();
    let technique = object([
        ("id", Some(json!(techniques))),
        ("subtechnique", some(json!(subtechniques)).map(|ids| json!({ "id": ids }))),
    ]);
    Some(json!({ "framework": "MITRE ATT&CK", "technique": technique }))
}

fn user(finding: &FindingRecord) -> Json {
    let effective = field(finding, "impersonated_user").map(|name| json!({ "name": name }));
    let roles = some(json!(list(finding, "user_groups")));
    object([
        ("name", text(field(finding, "user_name"))),
        ("id", text(field(finding, "user_uid"))),
        ("effective", effective),
        ("roles", roles),
    ])
}

fn orchestrator(finding: &FindingRecord) -> Json {
    let resource = object([
        ("name", text(field(finding, "name"))),
        ("type", text(field(finding, "resource"))),
        ("id", text(field(finding, "object_uid"))),
    ]);
    object([
        ("type", text("kubernetes")),
        ("cluster", Some(json!({ "name": finding.cluster }))),
        ("namespace", text(field(finding, "namespace"))),
        ("api_version", text(field(finding, "api_version"))),
        ("resource", some(resource)),
    ])
}

fn related(finding: &FindingRecord) -> Json {
    let users = ["user_name", "impersonated_user"].map(|name| field(finding, name));
    let users: Vec<&str> = users.into_iter().flatten().collect();
    object([("user", some(json!(users))), ("ip", source_ip(finding).map(|ip| json!([ip])))])
}

/// How bad, from 1 to 5, and from 0 to 100.
fn severity(severity: Severity) -> (u8, f32) {
    match severity {
        Severity::Informational => (1, 1.0),
        Severity::Low => (2, 21.0),
        Severity::Medium => (3, 47.0),
        Severity::High => (4, 73.0),
        Severity::Critical => (5, 99.0),
    }
}
