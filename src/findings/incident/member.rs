//! What an incident keeps of each of its findings.

use serde::{Deserialize, Serialize};

use super::actor::{about, actors};
use super::tactic::tactic;
use crate::detect::detection::Severity;
use crate::detect::finding::Status;
use crate::event::time::parse_rfc3339;
use crate::findings::record::FindingRecord;

/// A finding as part of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Id of the finding.
    pub finding: String,
    /// Its cluster.
    pub cluster: String,
    /// Its detection.
    pub detection: String,
    /// The detection's title.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// What the first of its techniques is for.
    pub tactic: Option<String>,
    /// Hardening controls.
    pub controls: Vec<String>,
    /// Where, when its row says so.
    pub namespace: Option<String>,
    /// Its first event, microseconds since 1970, UTC.
    pub first: i64,
    /// Its last event.
    pub last: i64,
    /// Its events.
    pub events: u64,
    /// The keys of who did it, ascending.
    pub actors: Vec<String>,
}

impl Member {
    /// A finding as a member; `None` of one that takes no part in incidents.
    #[must_use]
    pub fn of(record: &FindingRecord) -> Option<Self> {
        if record.status != Status::Open || record.severity == Severity::Informational {
            return None;
        }
        let first = parse_rfc3339(&record.first_seen)?;
        Some(Self {
            finding: record.id.clone(),
            cluster: record.cluster.clone(),
            detection: record.detection.clone(),
            title: record.title.clone(),
            severity: record.severity,
            tactic: record.attack.first().and_then(|of| tactic(of)).map(str::to_owned),
            controls: record.controls.clone(),
            namespace: about(record, "namespace").map(str::to_owned),
            first,
            last: parse_rfc3339(&record.last_seen)?.max(first),
            events: record.count,
            actors: actors(record),
        })
    }

    /// Whether it says all that `before` said, and maybe more: what was made of that still holds.
    pub(super) fn grew_from(&self, before: &Self) -> bool {
        self.first <= before.first
            && self.last >= before.last
            && self.events >= before.events
            && Self { first: 0, last: 0, events: 0, ..self.clone() }
                == Self { first: 0, last: 0, events: 0, ..before.clone() }
    }
}
