//! What people make of findings and incidents: acknowledged, assigned, commented, closed, opened
//! again; and who did that when.
//!
//! What is asked twice changes nothing the second time. A finding that is closed as a false
//! positive leaves its incident, as one that is withdrawn does.

mod state;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;

pub use state::{Kind, Reason, State};

use super::database::{StoreError, restored, stored};
use super::incident::reading::incident_in;
use super::step::{LedgerEntry, LedgerKind};
use super::store::{Change, Store, count};

/// What somebody asks to be done; what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// What it is to be.
    pub state: Option<State>,
    /// Why it is closed; without one it was dealt with.
    pub reason: Option<Reason>,
    /// Who is to look after it; an empty name for nobody.
    pub assignee: Option<String>,
    /// What is to be said of it.
    pub comment: Option<String>,
}

/// What is known of a finding or an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Known {
    /// What became of it.
    pub state: State,
    /// Why it is closed.
    pub reason: Option<Reason>,
    /// Who looks after it.
    pub assignee: Option<String>,
    /// The detections that were in it when it was closed.
    #[serde(skip)]
    pub detections: BTreeSet<String>,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, microseconds since 1970, UTC.
    #[serde(skip)]
    pub at: i64,
    /// `finding` or `incident`.
    pub kind: String,
    /// Id of what it was done to.
    pub id: String,
    /// By whom.
    pub who: String,
    /// `acknowledge`, `assign`, `comment`, `close` or `reopen`.
    pub action: String,
    /// The assignee, the comment, or why.
    pub detail: String,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triaged {
    /// It is as asked; it may have been before.
    Done,
    /// There is nothing of this id.
    Unknown,
    /// The incident became a part of this one, which is to be asked.
    MergedInto(String),
}

/// Who opens again what new findings come for.
const OURSELVES: &str = "auditmill";
/// Entries that are kept of one finding or incident; then the oldest go.
const ENTRIES_MAX: i64 = 1_000;

impl Store {
    /// Does what `who` asks, and takes note of it, at `now` (microseconds since 1970, UTC).
    ///
    /// # Errors
    /// When it cannot be written; nothing of it is done then.
    pub fn triage(
        &self,
        (kind, id): (Kind, &str),
        ask: &Ask,
        who: &str,
        now: i64,
    ) -> Result<Triaged, StoreError> {
        self.write_changes("triage", |transaction, change| {
            let mut desk = Desk { transaction, kind, id, who, now };
            match kind {
                Kind::Finding => desk.finding(ask, self.gap(), change),
                Kind::Incident => desk.incident(ask, change),
            }
        })
    }

    /// What is known of a finding or an incident by itself.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn known(&self, kind: Kind, id: &str) -> Result<Known, StoreError> {
        self.readers.read("read a state", |reader| state_of(reader, kind, id))
    }

    /// What was done, oldest first: to a finding or an incident, or all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn trail(&self, of: Option<(Kind, &str)>) -> Result<Vec<Entry>, StoreError> {
        let (kind, id) = of.map(|(kind, id)| (kind.as_str(), id)).unzip();
        self.readers.read("read what was done", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT at, kind, id, who, action, detail FROM triage
                 WHERE ?2 IS NULL OR kind = ?1 AND id = ?2 ORDER BY number",
            )?;
            let rows = statement.query_map([kind, id], entry)?;
            rows.collect()
        })
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        at: row.get(0)?,
        kind: row.get(1)?,
        id: row.get(2)?,
        who: row.get(3)?,
        action: row.get(4)?,
        detail: row.get(5)?,
    })
}

/// One call of somebody about something.
struct Desk<'a> {
    transaction: &'a Transaction<'a>,
    kind: Kind,
    id: &'a str,
    who: &'a str,
    now: i64,
}

impl Desk<'_> {
    fn finding(&mut self, ask: &Ask, gap: i64, change: &mut Change) -> rusqlite::Result<Triaged> {
        let question = "SELECT body, change FROM findings WHERE id = ?1";
        let found = self.transaction.query_row(question, [self.id], |row| {
            let (body, change): (String, i64) = (row.get(0)?, row.get(1)?);
            Ok((body, restored(change)))
        });
        let Some((body, number)) = found.optional()? else { return Ok(Triaged::Unknown) };
        let before = is_false_positive(self.transaction, self.id)?;
        self.put(ask, &BTreeSet::new())?;
        let after = is_false_positive(self.transaction, self.id)?;
        let record = serde_json::from_str::<super::record::FindingRecord>(&body);
        let (true, Ok(record)) = (before != after, record) else { return Ok(Triaged::Done) };
        if after {
            let suppressed = LedgerEntry {
                kind: LedgerKind::Suppressed,
                cluster: record.cluster.clone(),
                item: record.detection.clone(),
                at: self.now,
                count: 1,
            };
            count(self.transaction, &[suppressed])?;
        }
        let changed = [(number, std::sync::Arc::new(record))];
        super::incident::regroup(self.transaction, &changed, gap, change)?;
        Ok(Triaged::Done)
    }

    fn incident(&mut self, ask: &Ask, change: &mut Change) -> rusqlite::Result<Triaged> {
        let Some(incident) = incident_in(self.transaction, self.id)? else {
            return Ok(Triaged::Unknown);
        };
        if let Some(into) = incident.merged_into {
            return Ok(Triaged::MergedInto(into));
        }
        let detections = incident.detections.into_iter().map(|found| found.detection).collect();
        if self.put(ask, &detections)? {
            touch(self.transaction, self.id, change)?;
        }
        Ok(Triaged::Done)
    }

    /// Puts down the state and what was done; false when it was so already.
    fn put(&self, ask: &Ask, detections: &BTreeSet<String>) -> rusqlite::Result<bool> {
        let known = state_of(self.transaction, self.kind, self.id)?;
        let mut next = Known { detections: known.detections.clone(), ..known.clone() };
        let mut done: Vec<(&str, String)> = Vec::new();
        if let Some(assignee) = &ask.assignee {
            next.assignee = Some(assignee.clone()).filter(|name| !name.is_empty());
            if next.assignee != known.assignee {
                done.push(("assign", assignee.clone()));
            }
        }
        if let Some(state) = ask.state {
            next.state = state;
            let reason = ask.reason.unwrap_or(Reason::Resolved);
            next.reason = Some(reason).filter(|_| state == State::Closed);
            if (next.state, next.reason) != (known.state, known.reason) {
                let reason = next.reason.map(|reason| reason.to_string());
                done.push((action(state), reason.unwrap_or_default()));
                next.detections.clone_from(detections);
            }
        }
        let changed = !done.is_empty();
        if changed {
            put_state(self.transaction, (self.kind, self.id), &next, self.who, self.now)?;
        }
        if let Some(comment) = ask.comment.as_ref().filter(|comment| !comment.is_empty())
            && !self.was_said(comment)?
        {
            done.push(("comment", comment.clone()));
        }
        for (action, detail) in done {
            let of = (self.kind, self.id);
            note(self.transaction, of, self.now, self.who, action, &detail)?;
        }
        Ok(changed)
    }

    /// Whether the last that this one said was the same: a call that came twice.
    fn was_said(&self, comment: &str) -> rusqlite::Result<bool> {
        let question = "SELECT detail FROM triage WHERE id = ?1 AND who = ?2 AND kind = ?3
                        AND action = 'comment' ORDER BY number DESC LIMIT 1";
        let mut statement = self.transaction.prepare_cached(question)?;
        let last: Option<String> = statement
            .query_row([self.id, self.who, self.kind.as_str()], |row| row.get(0))
            .optional()?;
        Ok(last.is_some_and(|last| last == comment))
    }
}

fn action(state: State) -> &'static str {
    match state {
        State::Open => "reopen",
        State::Acknowledged => "acknowledge",
        State::Closed => "close",
    }
}

/// What is known of a finding or an incident; it is open as long as nobody said anything.
pub(super) fn state_of(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<Known> {
    let question = "SELECT state, reason, assignee, detections FROM states
                    WHERE kind = ?1 AND id = ?2";
    let known = connection.prepare_cached(question)?.query_row([kind.as_str(), id], |row| {
        let (state, reason): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let detections: String = row.get(3)?;
        Ok(Known {
            state: state.parse().unwrap_or_default(),
            reason: reason.and_then(|reason| reason.parse().ok()),
            assignee: row.get(2)?,
            detections: serde_json::from_str(&detections).unwrap_or_default(),
        })
    });
    Ok(known.optional()?.unwrap_or_default())
}

/// Whether somebody closed a finding because it was harmless.
pub(super) fn is_false_positive(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let known = state_of(connection, Kind::Finding, id)?;
    Ok(known.state == State::Closed && known.reason == Some(Reason::FalsePositive))
}

/// Opens an incident again because of what came to it; who looks after it stays.
pub(super) fn reopen(transaction: &Transaction<'_>, id: &str, why: &str) -> rusqlite::Result<()> {
    let of = (Kind::Incident, id);
    let known = state_of(transaction, of.0, id)?;
    let next = Known { state: State::Open, reason: None, ..known };
    // The clock of the store is its newest arrival.
    let now = "SELECT coalesce(max(last_arrival), 0) FROM clusters";
    let now: i64 = transaction.query_row(now, [], |row| row.get(0))?;
    put_state(transaction, of, &next, OURSELVES, now)?;
    note(transaction, of, now, OURSELVES, "reopen", why)
}

fn put_state(
    transaction: &Transaction<'_>,
    (kind, id): (Kind, &str),
    known: &Known,
    who: &str,
    now: i64,
) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO states (kind, id, state, reason, assignee, who, at, detections)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let Known { state, reason, assignee, detections } = known;
    let reason = reason.map(|reason| reason.to_string());
    let detections = serde_json::to_string(detections).unwrap_or_default();
    let kind = kind.as_str();
    put.execute(params![kind, id, state.as_str(), reason, assignee, who, now, detections])?;
    Ok(())
}

fn note(
    transaction: &Transaction<'_>,
    (kind, id): (Kind, &str),
    at: i64,
    who: &str,
    action: &str,
    detail: &str,
) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO triage (at, kind, id, who, action, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let kind = kind.as_str();
    put.execute(params![at, kind, id, who, action, detail])?;
    let mut forget = transaction.prepare_cached(
        "DELETE FROM triage WHERE id = ?1 AND number <=
             (SELECT number FROM triage WHERE id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?;
    forget.execute(params![id, ENTRIES_MAX])?;
    Ok(())
}

/// An incident is another than before, beside what it adds up to.
fn touch(transaction: &Transaction<'_>, id: &str, change: &mut Change) -> rusqlite::Result<()> {
    *change += 1;
    let update = "UPDATE incidents SET change = ?2, revision = revision + 1 WHERE id = ?1";
    transaction.prepare_cached(update)?.execute(params![id, stored(*change)])?;
    Ok(())
}
