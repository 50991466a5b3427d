//! Questions about incidents. None of them holds up who writes.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use serde::Serialize;

use super::aggregate::Aggregate;
use super::grouping::regroup;
use super::member::Member;
use super::record::{Head, Incident};
use crate::detect::detection::Severity;
use crate::event::Clusters;
use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::database::{StoreError, restored, stored};
use crate::findings::record::FindingRecord;
use crate::findings::store::{Change, Store};
use crate::findings::triage::{Reason, State};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// Only those whose last event is at or after this RFC 3339 time.
    pub since: Option<String>,
    /// Only these severities; empty means all.
    pub severities: Vec<Severity>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Only clusters that whoever asks may see.
    pub within: Clusters,
    /// Only these states; empty means all but those that became a part of another.
    pub states: Vec<State>,
}

/// A page of incidents, the latest first.
#[derive(Debug, Serialize)]
pub struct IncidentPage {
    /// The incidents.
    pub incidents: Vec<Incident>,
    /// Where the next page starts, `None` at the end.
    pub next: Option<String>,
}

/// A finding on an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Time of its first event, RFC 3339.
    pub first_seen: String,
    /// Time of its last event, RFC 3339.
    pub last_seen: String,
    /// Id of the finding.
    pub finding: String,
    /// Id of its detection.
    pub detection: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is for.
    pub tactic: Option<String>,
    /// Its events.
    pub events: u64,
    /// One sentence.
    pub summary: String,
}

/// What an incident is now; `states` may have nothing of it.
const STATE: &str = "CASE WHEN merged_into IS NOT NULL OR findings = 0 THEN 'closed'
     ELSE coalesce(states.state, 'open') END";
const COLUMNS: &str = "incidents.change, incidents.id, cluster, revision, merged_into,
     states.state, states.reason, states.assignee, body, first, last";
const FROM: &str = "FROM incidents LEFT JOIN states
     ON states.kind = 'incident' AND states.id = incidents.id";

impl Store {
    /// The incident of this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        self.readers.read("get an incident", |reader| incident_in(reader, id))
    }

    /// A page of at most `limit` incidents, the latest last event first. `cursor` is a page's
    /// `next`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn incidents(
        &self,
        filter: &IncidentFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<IncidentPage, StoreError> {
        let (mut conditions, mut values) = filter.conditions();
        if let Some((last, id)) = cursor.map(|c| c.split_once('~').unwrap_or((c, ""))) {
            conditions.push_str(" AND (last, incidents.id) < (?, ?)");
            values.push(Box::new(parse_rfc3339(last).unwrap_or(i64::MAX)));
            values.push(Box::new(id.to_owned()));
        }
        values.push(Box::new(stored(limit as u64 + 1)));
        let question = format!(
            "SELECT {COLUMNS} {FROM} WHERE true{conditions}
             ORDER BY last DESC, incidents.id DESC LIMIT ?"
        );
        let mut incidents = self.readers.read("list incidents", |reader| {
            let mut statement = reader.prepare_cached(&question)?;
            let rows = statement.query_map(params_from_iter(&values), read)?;
            rows.map(|row| Ok(row?.1)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let more = incidents.len() > limit;
        incidents.truncate(limit);
        let last = incidents.last().filter(|_| more);
        let next = last.map(|incident| format!("{}~{}", incident.last_seen, incident.id));
        Ok(IncidentPage { incidents, next })
    }

    /// Up to `limit` incidents that changed after `after`, each once, in its latest version.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn incidents_after(
        &self,
        after: Change,
        limit: usize,
    ) -> Result<Vec<(Change, Incident)>, StoreError> {
        let question = format!(
            "SELECT {COLUMNS} {FROM} WHERE incidents.change > ?1 ORDER BY incidents.change LIMIT ?2"
        );
        self.readers.read("read changes of incidents", |reader| {
            let mut statement = reader.prepare_cached(&question)?;
            let rows = statement.query_map([stored(after), stored(limit as u64)], read)?;
            rows.collect()
        })
    }

    /// All incidents in parts of at most `part` of them, in the order of their changes, until it
    /// is told to stop. What changes meanwhile may come twice or not at all.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn scan_incidents(
        &self,
        part: usize,
        mut each: impl FnMut(&[Incident]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let found = self.incidents_after(after, part.max(1))?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = *last;
            let incidents: Vec<_> = found.into_iter().map(|(_, incident)| incident).collect();
            if each(&incidents).is_break() {
                return Ok(());
            }
        }
    }

    /// The first `limit` findings of an incident, by the time of their first events.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn timeline(&self, id: &str, limit: usize) -> Result<Vec<Moment>, StoreError> {
        self.readers.read("read a timeline", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT incident_members.body, findings.body
                 FROM incident_members LEFT JOIN findings ON findings.id = finding
                 WHERE incident = ?1 ORDER BY first, finding LIMIT ?2",
            )?;
            let rows = statement.query_map(params![id, stored(limit as u64)], |row| {
                let (member, record): (String, Option<String>) = (row.get(0)?, row.get(1)?);
                Ok(moment(&member, record.as_deref()))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Findings of an incident that tell most of it: of each detection the first, then the worst,
    /// at most `limit`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn lead_findings(
        &self,
        id: &str,
        limit: usize,
    ) -> Result<Vec<Arc<FindingRecord>>, StoreError> {
        self.readers.read("read findings of an incident", |reader| {
            // By detection the first: an aggregate with bare columns gives the row of its minimum.
            let mut statement = reader.prepare_cached(
                "SELECT findings.body, findings.revision, min(incident_members.first)
                 FROM incident_members JOIN findings ON findings.id = finding
                 WHERE incident = ?1 GROUP BY findings.detection",
            )?;
            let rows = statement.query_map([id], |row| {
                let (body, revision): (String, i64) = (row.get(0)?, row.get(1)?);
                let record = serde_json::from_str::<FindingRecord>(&body).ok();
                let revision = restored(revision);
                Ok(record.map(|record| Arc::new(FindingRecord { revision, ..record })))
            })?;
            let mut records: Vec<_> =
                rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
            records.sort_by(|one, other| {
                let order = other.severity.cmp(&one.severity);
                order.then_with(|| (&one.first_seen, &one.id).cmp(&(&other.first_seen, &other.id)))
            });
            records.truncate(limit);
            Ok(records)
        })
    }

    /// Puts findings that were stored before there were incidents into some, once.
    pub(in crate::findings) fn group_earlier(&self) -> Result<(), StoreError> {
        let (gap, question) = (self.gap(), "SELECT change, body FROM findings ORDER BY change");
        self.write_changes("group findings", |transaction, change| {
            let done: i64 =
                transaction.query_row("SELECT done FROM grouped", [], |row| row.get(0))?;
            if done == 1 {
                return Ok(());
            }
            let mut statement = transaction.prepare(question)?;
            let mut rows = statement.query([])?;
            let mut earlier = Vec::new();
            while let Some(row) = rows.next()? {
                let body: String = row.get(1)?;
                if let Ok(record) = serde_json::from_str(&body) {
                    earlier.push((restored(row.get(0)?), Arc::new(record)));
                }
            }
            drop(rows);
            regroup(transaction, &earlier, gap, change)?;
            transaction.execute("UPDATE grouped SET done = 1", [])?;
            Ok(())
        })
    }

    /// How many other incidents the actors of an incident had.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn incidents_beside(&self, id: &str) -> Result<u64, StoreError> {
        self.readers.read("count incidents of an actor", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT count(DISTINCT incident) FROM incident_spans
                 WHERE incident <> ?1 AND actor IN
                     (SELECT actor FROM incident_spans WHERE incident = ?1 LIMIT 32)",
            )?;
            Ok(restored(statement.query_row([id], |row| row.get(0))?))
        })
    }

    /// Every finding that is in an incident: incident, finding, cluster.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn incident_findings(&self) -> Result<Vec<[String; 3]>, StoreError> {
        let question = "SELECT incident, finding, cluster FROM incident_members
                        JOIN incidents ON incidents.id = incident
                        ORDER BY incident, incident_members.first";
        let columns = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
        self.rows("read findings of incidents", question, columns)
    }

    /// The incident that a finding is in.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn incident_of(&self, finding: &str) -> Result<Option<String>, StoreError> {
        self.readers.read("read the incident of a finding", |reader| {
            let question = "SELECT incident FROM incident_members WHERE finding = ?1";
            reader.prepare_cached(question)?.query_row([finding], |row| row.get(0)).optional()
        })
    }
}

/// The incident of this id, as a connection sees it.
pub(in crate::findings) fn incident_in(
    reader: &Connection,
    id: &str,
) -> rusqlite::Result<Option<Incident>> {
    let question = format!("SELECT {COLUMNS} {FROM} WHERE incidents.id = ?1");
    let found = reader.prepare_cached(&question)?.query_row([id], read).optional()?;
    Ok(found.map(|(_, incident)| incident))
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Change, Incident)> {
    let (state, reason): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
    let head = Head {
        id: row.get(1)?,
        cluster: row.get(2)?,
        revision: restored(row.get(3)?),
        merged_into: row.get(4)?,
        span: (row.get(9)?, row.get(10)?),
        state: state.and_then(|state| state.parse().ok()).unwrap_or(State::Open),
        reason: reason.and_then(|reason| reason.parse::<Reason>().ok()),
        assignee: row.get(7)?,
    };
    let body: String = row.get(8)?;
    let sum: Aggregate = serde_json::from_str(&body).unwrap_or_default();
    Ok((restored(row.get(0)?), Incident::new(head, &sum)))
}

fn moment(member: &str, record: Option<&str>) -> Option<Moment> {
    let member: Member = serde_json::from_str(member).ok()?;
    let record: Option<FindingRecord> = record.and_then(|text| serde_json::from_str(text).ok());
    Some(Moment {
        first_seen: rfc3339(member.first),
        last_seen: rfc3339(member.last),
        finding: member.finding,
        detection: member.detection,
        severity: member.severity,
        tactic: member.tactic,
        events: member.events,
        summary: record.map_or(member.title, |record| record.summary),
    })
}

impl IncidentFilter {
    /// ` AND ...` for each condition, with its values.
    fn conditions(&self) -> (String, Vec<Box<dyn ToSql>>) {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let marks = |number: usize| vec!["?"; number].join(", ");
        if let Some(since) = &self.since {
            text.push_str(" AND last >= ?");
            values.push(Box::new(parse_rfc3339(since).unwrap_or(i64::MAX)));
        }
        if let Some(cluster) = &self.cluster {
            text.push_str(" AND cluster = ?");
            values.push(Box::new(cluster.clone()));
        }
        if let Some(names) = self.within.names() {
            let _ = write!(text, " AND cluster IN ({})", marks(names.len()));
            values.extend(names.into_iter().map(|name| Box::new(name) as Box<dyn ToSql>));
        }
        if !self.severities.is_empty() {
            let _ = write!(text, " AND severity IN ({})", marks(self.severities.len()));
            for severity in &self.severities {
                values.push(Box::new(*severity as i64));
            }
        }
        if self.states.is_empty() {
            text.push_str(" AND merged_into IS NULL");
        } else {
            let _ = write!(text, " AND {STATE} IN ({})", marks(self.states.len()));
            for state in &self.states {
                values.push(Box::new(state.as_str()));
            }
        }
        (text, values)
    }
}
