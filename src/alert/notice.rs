//! What people are told: what sinks for people need to know of a finding, or of whatever else is
//! worth a page, so that each of them says it in its own form.

use serde_json::{Map, Value as Json};

use crate::config::sink::SinkUrl;
use crate::findings::record::{FindingRecord, Severity, Status};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody looks after it.
    Open,
    /// Somebody does.
    Acknowledged,
    /// It is over, or never was.
    Closed,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same for the same thing, always: by it a receiver tells what it knows already.
    pub id: String,
    /// Grows with each change.
    pub revision: u64,
    /// How it stands.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The cluster.
    pub cluster: String,
    /// What it is one of: the id of a detection.
    pub kind: String,
    /// What it is one of, in words.
    pub title: String,
    /// What happened, in a sentence.
    pub summary: String,
    /// What to do first.
    pub respond: String,
    /// What it is known by, column by column; never another for the same `id`.
    pub key: Vec<(String, String)>,
    /// What else is known, by name.
    pub facts: Vec<(String, String)>,
    /// Time of its first event, RFC 3339.
    pub first_seen: String,
    /// Time of its last event, RFC 3339.
    pub last_seen: String,
    /// Where there is more.
    pub link: Option<String>,
}

/// So many facts are told.
const FACTS_MAX: usize = 20;

impl Notice {
    /// What there is to tell of a finding; `link` is where people reach this service.
    #[must_use]
    pub fn of_finding(finding: &FindingRecord, link: Option<&SinkUrl>) -> Self {
        let key = facts(&finding.key);
        let mut known = vec![("events".to_owned(), finding.count.to_string())];
        for (name, value) in key.iter().cloned().chain(facts(&finding.row)) {
            if known.len() < FACTS_MAX && !known.iter().any(|(known, _)| *known == name) {
                known.push((name, value));
            }
        }
        for (name, ids) in [("attack", &finding.attack), ("controls", &finding.controls)] {
            if !ids.is_empty() {
                known.push((name.to_owned(), ids.join(", ")));
            }
        }
        let path = format!("/v1/findings/{}", finding.id);
        Self {
            id: finding.id.clone(),
            revision: finding.revision,
            state: match finding.status {
                Status::Open => State::Open,
                Status::Withdrawn => State::Closed,
            },
            severity: finding.severity,
            cluster: finding.cluster.clone(),
            kind: finding.detection.clone(),
            title: finding.title.clone(),
            summary: finding.summary.clone(),
            respond: finding.respond.clone(),
            key,
            facts: known,
            first_seen: finding.first_seen.clone(),
            last_seen: finding.last_seen.clone(),
            link: link.map(|link| format!("{}{path}", link.0.as_str().trim_end_matches('/'))),
        }
    }

    /// One line for a phone: how bad, where, what.
    #[must_use]
    pub fn line(&self) -> String {
        let state = match self.state {
            State::Open => "",
            State::Acknowledged => "acknowledged: ",
            State::Closed => "closed: ",
        };
        let what = if self.summary.is_empty() { &self.title } else { &self.summary };
        format!("{state}[{}] {}: {what}", self.severity, self.cluster)
    }
}

/// Columns and their values as texts, without the cluster and what is NULL.
fn facts(row: &Map<String, Json>) -> Vec<(String, String)> {
    let known = row.iter().filter(|(name, value)| *name != "cluster" && !value.is_null());
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    known.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The beginning of a text, at most so many characters; of a longer one with `…` for the rest.
#[must_use]
pub fn cut(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
