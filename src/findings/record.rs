//! A finding as wires carry it; the names are fixed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

pub use crate::detect::detection::Severity;
use crate::detect::finding::Finding;
pub use crate::detect::finding::Status;
use crate::detect::row::Row;
use crate::event::time::rfc3339;

/// A finding's fields, in the order in which they are written. The store keeps them as written: a
/// field that is added later needs a default for findings from before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// 32 hex digits; the same for the same events, always.
    pub id: String,
    /// Id of the detection.
    pub detection: String,
    /// The detection's title.
    pub title: String,
    /// `informational`, `low`, `medium`, `high` or `critical`.
    pub severity: Severity,
    /// `open` or `withdrawn`.
    pub status: Status,
    /// The cluster of its events.
    pub cluster: String,
    /// Key columns and their values.
    pub key: Map<String, Json>,
    /// The number of events behind it.
    pub count: u64,
    /// Time of its first event, RFC 3339.
    pub first_seen: String,
    /// Time of its last event, RFC 3339.
    pub last_seen: String,
    /// One sentence.
    pub summary: String,
    /// The earliest three and the latest two events.
    pub evidence: Vec<EvidenceRecord>,
    /// MITRE ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Hardening control ids.
    pub controls: Vec<String>,
    /// The row of the query that it shows.
    pub row: Map<String, Json>,
    /// What to do first.
    pub respond: String,
    /// State was capped while it was made: it may miss events.
    pub incomplete: bool,
    /// Grows by one with each change of the finding.
    pub revision: u64,
}

/// One event of a finding's evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// The event's content hash.
    pub event_id: String,
    /// The request's audit id.
    pub audit_id: Option<String>,
    /// RFC 3339.
    pub event_time: String,
}

impl FindingRecord {
    /// The wire form of a finding.
    #[must_use]
    pub fn new(finding: &Finding, revision: u64) -> Self {
        let detection = &finding.detection;
        let time = |event: Option<crate::detect::evidence::EventRef>| {
            event.map(|event| rfc3339(event.event_time)).unwrap_or_default()
        };
        let evidence = finding.evidence.shown().into_iter().map(|event| EvidenceRecord {
            event_id: event.event_id,
            audit_id: event.audit_id,
            event_time: rfc3339(event.event_time),
        });
        Self {
            id: finding.id.clone(),
            detection: detection.id.clone(),
            title: detection.title.clone(),
            severity: detection.severity,
            status: finding.status,
            cluster: finding.cluster.clone(),
            key: object(&finding.key),
            count: finding.evidence.count(),
            first_seen: time(finding.evidence.first()),
            last_seen: time(finding.evidence.last()),
            summary: finding.summary(),
            evidence: evidence.collect(),
            attack: detection.attack.clone(),
            controls: detection.controls.clone(),
            row: object(&finding.row),
            respond: detection.respond.clone(),
            incomplete: finding.incomplete,
            revision,
        }
    }
}

fn object(row: &Row) -> Map<String, Json> {
    row.iter().map(|(name, value)| (name.to_owned(), value.to_json())).collect()
}
