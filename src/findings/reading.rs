//! Questions to the store. None of them holds up who writes.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::database::{StoreError, restored, stored};
use super::record::FindingRecord;
use super::step::ClusterSeen;
use super::store::{Change, Store};
use crate::event::Clusters;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only findings whose last event is at or after this RFC 3339 time, in UTC with
    /// microseconds.
    pub since: Option<String>,
    /// Only these severities; empty means all.
    pub severities: Vec<String>,
    /// Only this detection.
    pub detection: Option<String>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Only clusters that whoever asks may see.
    pub within: Clusters,
}

/// A page of findings, newest first.
#[derive(Debug)]
pub struct Page {
    /// The findings.
    pub findings: Vec<Arc<FindingRecord>>,
    /// Where the next page starts, `None` at the end.
    pub next: Option<String>,
}

/// Findings that changed, each once, in its latest version.
#[derive(Debug)]
pub struct Changes {
    /// The findings with the numbers of their latest changes, ascending.
    pub findings: Vec<(Change, Arc<FindingRecord>)>,
    /// Whoever has these has everything up to here.
    pub next: Change,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerRow {
    /// What happened: a [`super::step::LedgerKind`] by name.
    pub kind: String,
    /// Whose it was.
    pub cluster: String,
    /// What it is about.
    pub item: String,
    /// Start of its hour, microseconds since 1970, UTC.
    pub hour: i64,
    /// How many.
    pub count: u64,
}

/// A stored row before its body is read.
struct Stored {
    change: Change,
    id: String,
    revision: u64,
    body: String,
}

const COLUMNS: &str = "change, id, revision, body";

impl Store {
    /// The finding of this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Arc<FindingRecord>>, StoreError> {
        let question = format!("SELECT {COLUMNS} FROM findings WHERE id = ?1");
        let found = self.readers.read("get a finding", |reader| {
            reader.prepare_cached(&question)?.query_row([id], stored_row).optional()
        })?;
        found.map(|found| Ok(found.read()?.1)).transpose()
    }

    /// A page of at most `limit` findings, the latest `first_seen` first. `cursor` is a page's
    /// `next`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, StoreError> {
        let (mut conditions, mut values) = filter.conditions();
        // A cursor of another form is a place, too: texts have an order.
        if let Some((first_seen, id)) = cursor.map(|c| c.split_once('~').unwrap_or((c, ""))) {
            conditions.push_str(" AND (first_seen, id) < (?, ?)");
            values.push(Box::new(first_seen.to_owned()));
            values.push(Box::new(id.to_owned()));
        }
        values.push(Box::new(stored(limit as u64 + 1)));
        let question = format!(
            "SELECT {COLUMNS} FROM findings WHERE true{conditions}
             ORDER BY first_seen DESC, id DESC LIMIT ?"
        );
        let mut findings = Vec::new();
        for (_, record) in self.ask("list findings", &question, &values)? {
            findings.push(record);
        }
        let more = findings.len() > limit;
        findings.truncate(limit);
        let next = findings.last().filter(|_| more).map(|record| place(record));
        Ok(Page { findings, next })
    }

    /// Up to `limit` changes after `after` that pass the filter, oldest first, each finding once in
    /// its latest version.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn changes_after(
        &self,
        after: Change,
        filter: &Filter,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        // Taken before the question: what changes meanwhile is beyond it, or seen twice.
        let tip = self.follow().borrow().change;
        let (conditions, mut values) = filter.conditions();
        values.push(Box::new(stored(after)));
        values.push(Box::new(stored(limit as u64)));
        let question = format!(
            "SELECT {COLUMNS} FROM findings WHERE true{conditions} AND change > ?
             ORDER BY change LIMIT ?"
        );
        let findings = self.ask("read changes", &question, &values)?;
        let last = findings.last().map_or(0, |(change, _)| *change);
        let next = if findings.len() < limit { tip.max(last) } else { last };
        Ok(Changes { findings, next: next.max(after) })
    }

    /// All findings in parts of at most `part` of them, in the order of their changes, until it is
    /// told to stop. What changes meanwhile may come twice or not at all.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn scan(
        &self,
        part: usize,
        mut each: impl FnMut(&[Arc<FindingRecord>]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let changes = self.changes_after(after, &Filter::default(), part.max(1))?;
            let full = changes.findings.len() >= part.max(1);
            after = changes.next;
            let records: Vec<_> = changes.findings.into_iter().map(|(_, record)| record).collect();
            if !records.is_empty() && each(&records).is_break() || !full {
                return Ok(());
            }
        }
    }

    /// The ledger, by hour.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        let question = "SELECT kind, cluster, item, hour, count FROM ledger
             ORDER BY hour, kind, cluster, item";
        self.rows("read the ledger", question, |row| {
            Ok(LedgerRow {
                kind: row.get(0)?,
                cluster: row.get(1)?,
                item: row.get(2)?,
                hour: row.get(3)?,
                count: restored(row.get(4)?),
            })
        })
    }

    /// Every cluster that ever sent something, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn clusters(&self) -> Result<Vec<ClusterSeen>, StoreError> {
        let question = "SELECT cluster, last_event, last_arrival, events, duplicates
                        FROM clusters ORDER BY cluster";
        self.rows("read clusters", question, |row| {
            Ok(ClusterSeen {
                cluster: row.get(0)?,
                last_event: row.get(1)?,
                last_arrival: row.get(2)?,
                events: restored(row.get(3)?),
                duplicates: restored(row.get(4)?),
            })
        })
    }

    /// Hash and arrival (microseconds since 1970, UTC) of the deliveries that arrived at `arrival`
    /// or later, in order of arrival; of those whose step ended at or before the position
    /// `written`: who reads records again meets the others again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn deliveries_since(
        &self,
        arrival: i64,
        written: u64,
    ) -> Result<Vec<(u128, i64)>, StoreError> {
        self.readers.read("read deliveries", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT hash, arrival FROM deliveries WHERE arrival >= ?1 AND next <= ?2
                 ORDER BY arrival, hash",
            )?;
            let rows = statement.query_map([arrival, stored(written)], |row| {
                let hash: [u8; 16] = row.get(0)?;
                Ok((u128::from_be_bytes(hash), row.get(1)?))
            })?;
            rows.collect()
        })
    }

    pub(super) fn rows<T>(
        &self,
        what: &'static str,
        question: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.readers.read(what, |reader| all(reader, question, &[], read))
    }

    fn ask(
        &self,
        what: &'static str,
        question: &str,
        values: &[Box<dyn ToSql>],
    ) -> Result<Vec<(Change, Arc<FindingRecord>)>, StoreError> {
        let found = self.readers.read(what, |reader| all(reader, question, values, stored_row))?;
        found.into_iter().map(Stored::read).collect()
    }
}

fn all<T>(
    reader: &Connection,
    question: &str,
    values: &[Box<dyn ToSql>],
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = reader.prepare_cached(question)?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    rows.collect()
}

fn stored_row(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        change: restored(row.get(0)?),
        id: row.get(1)?,
        revision: restored(row.get(2)?),
        body: row.get(3)?,
    })
}

impl Stored {
    fn read(self) -> Result<(Change, Arc<FindingRecord>), StoreError> {
        let Self { change, id, revision, body } = self;
        match serde_json::from_str::<FindingRecord>(&body) {
            Ok(record) => Ok((change, Arc::new(FindingRecord { revision, ..record }))),
            Err(source) => Err(StoreError::Damaged { id, source }),
        }
    }
}

impl Filter {
    /// ` AND ...` for each condition, with its values.
    fn conditions(&self) -> (String, Vec<Box<dyn ToSql>>) {
        let mut text = String::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let single = [
            (" AND last_seen >= ?", &self.since),
            (" AND detection = ?", &self.detection),
            (" AND cluster = ?", &self.cluster),
        ];
        for (condition, value) in single {
            if let Some(value) = value {
                text.push_str(condition);
                values.push(Box::new(value.clone()));
            }
        }
        let severities = Some(self.severities.clone()).filter(|names| !names.is_empty());
        let several =
            [(" AND severity IN (", severities), (" AND cluster IN (", self.within.names())];
        for (condition, names) in several {
            let Some(names) = names else { continue };
            text.push_str(condition);
            text.push_str(&vec!["?"; names.len()].join(", "));
            text.push(')');
            values.extend(names.into_iter().map(|name| Box::new(name) as Box<dyn ToSql>));
        }
        (text, values)
    }
}

/// Where a finding stands in a list: RFC 3339 in one form sorts as text.
fn place(record: &FindingRecord) -> String {
    format!("{}~{}", record.first_seen, record.id)
}
