//! An incident as wires carry it; the names are fixed.

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use crate::detect::detection::Severity;
use crate::event::time::rfc3339;
use crate::findings::triage::{Reason, State};

/// An incident's fields, in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Id of the finding that opened it.
    pub id: String,
    /// One short line.
    pub title: String,
    /// The worst of its findings.
    pub severity: Severity,
    /// How much it weighs, see [`Aggregate::score`].
    pub score: u64,
    /// What became of it.
    pub state: State,
    /// Why it is closed.
    pub reason: Option<Reason>,
    /// Who looks after it.
    pub assignee: Option<String>,
    /// The incident that it became a part of.
    pub merged_into: Option<String>,
    /// The cluster.
    pub cluster: String,
    /// Who: `user alice`, `credential ID`, or what stands for somebody without a name.
    pub actors: Vec<String>,
    /// Where, as far as findings say so.
    pub namespaces: Vec<String>,
    /// The ATT&CK tactics that it spans.
    pub tactics: Vec<String>,
    /// Hardening control ids.
    pub controls: Vec<String>,
    /// What was found, by detection, in the order of their first events.
    pub detections: Vec<Found>,
    /// How many findings.
    pub findings: u64,
    /// How many events they have.
    pub events: u64,
    /// Time of its first event, RFC 3339.
    pub first_seen: String,
    /// Time of its last event, RFC 3339.
    pub last_seen: String,
    /// Whether it is worth calling somebody: incidents of low findings alone are not.
    pub pages: bool,
    /// Grows by one with each change of the incident.
    pub revision: u64,
}

/// The findings of one detection in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Id of the detection.
    pub detection: String,
    /// Its title.
    pub title: String,
    /// The worst of them.
    pub severity: Severity,
    /// What it is for.
    pub tactic: Option<String>,
    /// How many findings.
    pub findings: u64,
    /// How many events.
    pub events: u64,
    /// Time of the first event, RFC 3339.
    pub first_seen: String,
    /// Time of the last event, RFC 3339.
    pub last_seen: String,
}

/// What is stored of an incident beside what it adds up to.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) cluster: String,
    pub(super) revision: u64,
    pub(super) merged_into: Option<String>,
    pub(super) span: (i64, i64),
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
    pub(super) assignee: Option<String>,
}

impl Incident {
    pub(super) fn new(head: Head, sum: &Aggregate) -> Self {
        let Head { id, cluster, revision, merged_into, span, state, reason, assignee } = head;
        let gone = (merged_into.is_some(), sum.parts.is_empty());
        let (state, reason) = match gone {
            (true, _) => (State::Closed, Some(Reason::Merged)),
            (false, true) => (State::Closed, Some(Reason::Withdrawn)),
            (false, false) => (state, reason),
        };
        let severity = sum.severity();
        let (first, last) = span;
        let actors: Vec<String> = sum.actors.iter().map(|key| name(key)).collect();
        Self {
            title: title(sum, &cluster),
            severity,
            score: sum.score(),
            state,
            reason,
            assignee,
            merged_into,
            actors,
            namespaces: sum.namespaces.iter().cloned().collect(),
            tactics: sum.tactics().into_iter().map(str::to_owned).collect(),
            controls: sum.controls.iter().cloned().collect(),
            detections: found(sum),
            findings: sum.findings(),
            events: sum.events(),
            first_seen: rfc3339(first),
            last_seen: rfc3339(last),
            pages: severity >= Severity::Medium,
            revision,
            id,
            cluster,
        }
    }
}

fn found(sum: &Aggregate) -> Vec<Found> {
    let mut parts: Vec<_> = sum.parts.iter().collect();
    parts.sort_by_key(|(detection, part)| (part.first, *detection));
    let found = parts.into_iter().map(|(detection, part)| Found {
        detection: detection.clone(),
        title: part.title.clone(),
        severity: part.severity,
        tactic: part.tactic.clone(),
        findings: part.findings,
        events: part.events,
        first_seen: rfc3339(part.first),
        last_seen: rfc3339(part.last),
    });
    found.collect()
}

/// `user alice` of `user/CLUSTER/alice`.
pub(super) fn name(actor: &str) -> String {
    let mut parts = actor.splitn(3, '/');
    let (kind, name) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    format!("{kind} {name}")
}

/// One line that fits a phone: the worst detection's title, who, where.
fn title(sum: &Aggregate, cluster: &str) -> String {
    // Of those that are as bad the first: what it began with.
    let worst = sum.parts.iter().max_by_key(|(detection, part)| {
        (part.severity, std::cmp::Reverse(part.first), std::cmp::Reverse(*detection))
    });
    let Some((_, worst)) = worst else { return format!("Nothing is left ({cluster})") };
    let mut who: Vec<&String> = sum.actors.iter().collect();
    // A user's name says more than the id of a credential.
    who.sort_by_key(|actor| (!actor.starts_with("user/"), *actor));
    let who = who.first().map(|actor| name(actor)).unwrap_or_default();
    let who = who.strip_prefix("user ").unwrap_or(&who);
    let further = match sum.parts.len() - 1 {
        0 => String::new(),
        n => format!(" +{n}"),
    };
    let line = format!("{}{further}: {who} in {cluster}", worst.title);
    crate::detect::finding::safe_line(&line, TITLE_CHARS_MAX)
}

/// What a phone shows of a message.
const TITLE_CHARS_MAX: usize = 120;
