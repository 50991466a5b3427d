//! What somebody is told who is called for an incident: the whole story in plain text, and the
//! same as fields.
//!
//! Names in it are an attacker's words: each is one bounded line without control characters. What
//! is to be pasted (SQL, an exception) is quoted, so that it says what it seems to.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::actor::about;
use super::record::Incident;
use crate::detect::detection::Severity;
use crate::detect::finding::{is_plain, safe_line};
use crate::event::schema::events_schema;
use crate::event::time::rfc3339;
use crate::findings::database::StoreError;
use crate::findings::record::FindingRecord;
use crate::findings::store::Store;

/// Findings that a page tells of, each of another detection.
const LEADS_MAX: usize = 8;
/// Names in one line.
const NAMES_MAX: usize = 8;
/// Letters of one name or sentence.
const CHARS_MAX: usize = 300;
/// How long a prefilled exception holds, microseconds.
const EXEMPT_FOR: i64 = 90 * 86_400_000_000;

/// The whole story of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// One short line, for a phone.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Who did it.
    pub who: Who,
    /// What was found, a sentence for each detection, the worst first.
    pub what: Vec<String>,
    /// Addresses and programs.
    pub from: From,
    /// How often.
    pub often: Often,
    /// What allowed it, as the API server says: the bindings.
    pub allowed_by: Vec<String>,
    /// Events to look at.
    pub evidence: Vec<EvidenceLine>,
    /// What to do first, by detection.
    pub respond: Vec<String>,
    /// SQL that shows all that the actor did meanwhile.
    pub sql: String,
    /// Entries for `exceptions.yaml`, one for each detection, prefilled.
    pub exempt: String,
    /// Where more is, when the settings say where this server is.
    pub link: Option<String>,
}

/// Who did it, as far as rows say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// User names.
    pub users: Vec<String>,
    /// As whom they acted.
    pub acted_as: Vec<String>,
    /// Ids of credentials: what to revoke.
    pub credentials: Vec<String>,
    /// Pods and nodes that the credentials were made for.
    pub issued_to: Vec<String>,
}

/// From where, as far as rows say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// Addresses.
    pub addresses: Vec<String>,
    /// Programs, in their own words.
    pub user_agents: Vec<String>,
}

/// How often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Often {
    /// Findings of the incident.
    pub findings: u64,
    /// Events of its findings.
    pub events: u64,
    /// Other incidents of the same actor that are kept.
    pub other_incidents: u64,
    /// Its first event, RFC 3339.
    pub first_seen: String,
    /// Its last event, RFC 3339.
    pub last_seen: String,
}

/// An event to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// The detection that it is evidence for.
    pub detection: String,
    /// When, RFC 3339.
    pub event_time: String,
    /// The event.
    pub event_id: String,
    /// The request.
    pub audit_id: Option<String>,
}

impl Store {
    /// The story of an incident, as of `now` (microseconds since 1970, UTC); `base` is the URL
    /// under which this server is reached.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn page(
        &self,
        incident: &Incident,
        base: Option<&str>,
        now: i64,
    ) -> Result<Page, StoreError> {
        let leads = self.lead_findings(&incident.id, LEADS_MAX)?;
        let beside = self.incidents_beside(&incident.id)?;
        let leads: Vec<&FindingRecord> = leads.iter().map(AsRef::as_ref).collect();
        Ok(Page::new(incident, &leads, beside, base, now))
    }
}

impl Page {
    fn new(
        incident: &Incident,
        leads: &[&FindingRecord],
        other_incidents: u64,
        base: Option<&str>,
        now: i64,
    ) -> Self {
        let names = |columns: &[&str]| names(leads, columns);
        let respond = leads.iter().filter(|record| !record.respond.trim().is_empty());
        let respond: Vec<String> = respond
            .map(|record| format!("{}: {}", record.detection, record.respond.trim()))
            .collect();
        let evidence = leads.iter().flat_map(|record| {
            record.evidence.iter().take(2).map(|event| EvidenceLine {
                detection: record.detection.clone(),
                event_time: event.event_time.clone(),
                event_id: event.event_id.clone(),
                audit_id: event.audit_id.as_deref().map(|id| safe_line(id, CHARS_MAX)),
            })
        });
        let reason = "say why this is harmless";
        let exempt = leads.iter().map(|record| exemption(record, "you@example.org", reason, now));
        Self {
            title: incident.title.clone(),
            severity: incident.severity,
            who: Who {
                users: names(&["user_name"]),
                acted_as: names(&["impersonated_user", "as_user"]),
                credentials: names(&["credential_id"]),
                issued_to: names(&["pod_name", "node_name"]),
            },
            what: leads.iter().map(|record| safe_line(&record.summary, CHARS_MAX)).collect(),
            from: From {
                addresses: names(&["source_ip", "other_ip", "inside_ip"]),
                user_agents: names(&["user_agent"]),
            },
            often: Often {
                findings: incident.findings,
                events: incident.events,
                other_incidents,
                first_seen: incident.first_seen.clone(),
                last_seen: incident.last_seen.clone(),
            },
            allowed_by: names(&["authorization_reason", "decision_reason"]),
            evidence: evidence.collect(),
            respond,
            sql: sql(incident, leads),
            exempt: exempt.collect(),
            link: base
                .map(|base| format!("{}/v1/incidents/{}", base.trim_end_matches('/'), incident.id)),
        }
    }

    /// The story as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}\nSeverity: {}\n", self.title, self.severity);
        let mut line = |name: &str, values: &[String]| {
            if !values.is_empty() {
                let _ = writeln!(out, "{name}: {}", values.join(", "));
            }
        };
        line("Who", &self.who.users);
        line("Acting as", &self.who.acted_as);
        line("Credential", &self.who.credentials);
        line("Made for", &self.who.issued_to);
        line("From", &self.from.addresses);
        line("With", &self.from.user_agents);
        line("Allowed by", &self.allowed_by);
        let Often { findings, events, other_incidents, first_seen, last_seen } = &self.often;
        let _ = writeln!(
            out,
            "How often: {findings} findings of {events} events; {other_incidents} other incidents \
             of the same actor are kept\nFirst: {first_seen}\nLast: {last_seen}"
        );
        let mut part = |name: &str, lines: &mut dyn Iterator<Item = String>| {
            let mut head = Some(name);
            for line in lines {
                if let Some(name) = head.take() {
                    let _ = write!(out, "\n{name}\n");
                }
                let _ = writeln!(out, "- {line}");
            }
        };
        part("What was found", &mut self.what.iter().cloned());
        part("What to do first", &mut self.respond.iter().cloned());
        part(
            "Evidence",
            &mut self.evidence.iter().map(|event| {
                let audit_id = event.audit_id.as_deref().unwrap_or("none");
                let EvidenceLine { detection, event_time, event_id, .. } = event;
                format!("{event_time} {detection} event {event_id} request {audit_id}")
            }),
        );
        let _ = write!(
            out,
            "\nAll that the actor did meanwhile\n{}\n\nIf it is harmless, for exceptions.yaml\n{}",
            self.sql, self.exempt
        );
        if let Some(link) = &self.link {
            let _ = write!(out, "\nMore: {link}\n");
        }
        out
    }
}

/// What the rows of findings have in these columns, each once, in the order of the findings.
fn names(leads: &[&FindingRecord], columns: &[&str]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = leads.iter().flat_map(|record| columns.iter().filter_map(|of| about(record, of)));
    let fresh = all.filter(|name| seen.insert(*name));
    fresh.take(NAMES_MAX).map(|name| safe_line(name, CHARS_MAX)).collect()
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// That a column has this text. Letters that would not show as what they are may be any.
fn is(column: &str, text: &str) -> String {
    if text.chars().all(is_plain) {
        return format!("{column} = {}", quoted(text));
    }
    let mut pattern = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '%' | '_' | '\\' => pattern.extend(['\\', char]),
            plain if is_plain(plain) => pattern.push(plain),
            _ => pattern.push('_'),
        }
    }
    format!("{column} LIKE {}", quoted(&pattern))
}

/// All events of the actor from the incident's first to its last.
fn sql(incident: &Incident, leads: &[&FindingRecord]) -> String {
    let mut any = BTreeSet::new();
    for record in leads {
        let columns = ["user_name", "impersonated_user", "credential_id"];
        let is = |column: &&str| Some(is(column, about(record, column)?));
        let before = any.len();
        any.extend(columns.iter().filter_map(is).filter(|_| before < NAMES_MAX));
    }
    if any.is_empty() {
        let of = leads.iter().filter_map(|record| about(record, "source_ip"));
        any.extend(of.take(NAMES_MAX).map(|address| is("source_ip", address)));
    }
    let who = match any.len() {
        0 => String::new(),
        _ => format!("\n  AND ({})", any.into_iter().collect::<Vec<_>>().join(" OR ")),
    };
    format!(
        "SELECT * FROM events\nWHERE cluster = {}\n  AND event_time BETWEEN '{}' AND '{}'{who}\n\
         ORDER BY event_time",
        quoted(&incident.cluster),
        incident.first_seen,
        incident.last_seen
    )
}

/// An entry of `exceptions.yaml` that hides findings like this one, for 90 days from `now`
/// (microseconds since 1970, UTC): of its key, as far as that is made of columns of `events`, else
/// of who did it.
#[must_use]
pub fn exemption(record: &FindingRecord, owner: &str, reason: &str, now: i64) -> String {
    let schema = events_schema();
    let is_column = |name: &str| schema.index_of(name).is_ok() && name != "cluster";
    let condition = |name: &str, value: &Json| match value {
        Json::Null => format!("{name} IS NULL"),
        Json::String(text) => is(name, text),
        other => format!("{name} = {other}"),
    };
    let of_key = record.key.iter().filter(|(name, _)| is_column(name));
    let mut conditions: Vec<String> = of_key.map(|(name, value)| condition(name, value)).collect();
    if conditions.is_empty() {
        let who = ["user_name", "source_ip"];
        let is = |column: &str| Some(is(column, about(record, column)?));
        conditions.extend(who.into_iter().filter_map(is));
    }
    if conditions.is_empty() {
        conditions.push("audit_id = 'say which events are harmless'".to_owned());
    }
    let until = rfc3339(now.saturating_add(EXEMPT_FOR));
    let until = until.get(..10).unwrap_or(&until);
    // A text in JSON's form is one in YAML, whatever it holds.
    let text = |text: &str| Json::from(text).to_string();
    format!(
        "- detection: {}\n  condition: {}\n  owner: {}\n  reason: {}\n  expires: {until}\n  \
         clusters: [{}]\n",
        text(&record.detection),
        text(&conditions.join(" AND ")),
        text(owner),
        text(reason),
        text(&record.cluster)
    )
}
