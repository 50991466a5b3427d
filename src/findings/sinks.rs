//! How far each sink is, what it could not take for now, and what it refused for good.
//!
//! A sink has been told of every change up to its cursor, but for findings set aside. The cursor
//! is saved after a delivery, so a crash tells a sink again, never too little.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::database::{StoreError, restored, stored};
use super::step::{LedgerEntry, LedgerKind};
use super::store::{Change, Store, count};

/// Where a sink that is new begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first change after now.
    Now,
    /// With the oldest finding stored.
    Start,
}

/// A finding that a sink cannot take for now, while it takes others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Id of the finding.
    pub finding: String,
    /// How often it was tried without success.
    pub failures: u32,
    /// When it is tried next, microseconds since 1970, UTC.
    pub next_at: i64,
    /// What the sink said last.
    pub why: String,
}

/// A finding that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When, microseconds since 1970, UTC.
    pub at: i64,
    /// The sink.
    pub sink: String,
    /// Id of the finding.
    pub finding: String,
    /// Its revision.
    pub revision: u64,
    /// Its cluster.
    pub cluster: String,
    /// What the sink said.
    pub why: String,
}

/// What came of deliveries of one sink.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// All up to here is delivered, refused or set aside.
    pub cursor: Change,
    /// Refused for good.
    pub refused: Vec<DeadLetter>,
    /// To be tried again later.
    pub set_aside: Vec<SetAside>,
    /// Ids of findings that are not set aside any more, if they were.
    pub cleared: Vec<String>,
}

/// A sink in use, as far as a start forgets it.
#[derive(Clone, Debug, Default)]
pub(super) struct InUse {
    kind: &'static str,
    trouble: Option<String>,
    /// People read what it is told: its place is in `pages`.
    is_for_people: bool,
    /// When people were told last, microseconds since 1970, UTC.
    told_at: Option<i64>,
}

/// How a sink stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// Its type in the settings.
    pub kind: &'static str,
    /// Findings, or calls of people, that it was not told of in their latest version, those set
    /// aside among them.
    pub pending: u64,
    /// Findings that it could not take while it took others.
    pub set_aside: u64,
    /// Findings that it refused for good.
    pub refused: u64,
    /// When its place was last saved, microseconds since 1970, UTC.
    pub used_at: i64,
    /// What it said when it last failed; nothing while it takes findings.
    pub trouble: Option<String>,
}

/// How long a sink that is not in use keeps its place, microseconds.
const UNUSED_MAX: i64 = 30 * 86_400_000_000;

impl Store {
    /// Takes a sink into use; gives its cursor: where it was, or `begin` when it is new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_sink(&self, name: &str, begin: Begin, now: i64) -> Result<Change, StoreError> {
        let opened = self.write("open a sink", |transaction, _| {
            let known = cursor(transaction, name)?;
            let place = match (known, begin) {
                (Some(known), _) => known,
                (None, Begin::Start) => 0,
                (None, Begin::Now) => {
                    transaction.query_row("SELECT change FROM place", [], |row| row.get(0))?
                }
            };
            transaction.execute(
                "INSERT INTO sinks (name, change, used_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET used_at = excluded.used_at",
                params![name, place, now],
            )?;
            Ok(restored(place))
        });
        // A disk that is full is no reason not to start where a sink has a place already.
        let cursor = opened.or_else(|error| {
            let known = self.readers.read("open a sink", |reader| cursor(reader, name));
            known.ok().flatten().map(restored).ok_or(error)
        })?;
        self.sinks().entry(name.to_owned()).or_default();
        Ok(cursor)
    }

    /// Takes a sink for people into use.
    pub fn open_pager(&self, name: &str) {
        self.sinks().entry(name.to_owned()).or_default().is_for_people = true;
    }

    /// Notes when people were told, microseconds since 1970, UTC.
    pub(super) fn told(&self, name: &str, now: i64) {
        if let Some(sink) = self.sinks().get_mut(name) {
            sink.told_at = Some(now);
        }
    }

    /// Forgets the places of sinks that nobody took into use for a month. To be called when all
    /// that are in use are opened: however long one has had nothing to do, its place is safe then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn forget_sinks(&self, now: i64) -> Result<(), StoreError> {
        self.write("forget sinks", |transaction, _| {
            let unused = now.saturating_sub(UNUSED_MAX);
            transaction.execute("DELETE FROM sinks WHERE used_at < ?1", [unused])?;
            transaction
                .execute("DELETE FROM set_aside WHERE sink NOT IN (SELECT name FROM sinks)", [])?;
            Ok(())
        })
    }

    /// Saves what came of deliveries, all of it or nothing; a cursor never goes back.
    ///
    /// # Errors
    /// When it cannot be written; the same may be saved again.
    pub fn settle(&self, sink: &str, settled: &Settled, now: i64) -> Result<(), StoreError> {
        self.write("save deliveries", |transaction, _| {
            let mut advance = transaction.prepare_cached(
                "UPDATE sinks SET change = max(change, ?2), used_at = ?3 WHERE name = ?1",
            )?;
            advance.execute(params![sink, stored(settled.cursor), now])?;
            let mut clear = transaction
                .prepare_cached("DELETE FROM set_aside WHERE sink = ?1 AND finding = ?2")?;
            for finding in &settled.cleared {
                clear.execute([sink, finding])?;
            }
            for aside in &settled.set_aside {
                let mut put = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO set_aside (sink, finding, failures, next_at, why)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                let SetAside { finding, failures, next_at, why } = aside;
                put.execute(params![sink, finding, failures, next_at, why])?;
            }
            refuse(transaction, sink, &settled.refused)
        })
    }

    /// The finding set aside for longest whose time has come, with the number of all set aside.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set_aside(&self, sink: &str, now: i64) -> Result<(Option<SetAside>, u64), StoreError> {
        self.readers.read("read what is set aside", |reader| {
            let mut due = reader.prepare_cached(
                "SELECT finding, failures, next_at, why FROM set_aside
                 WHERE sink = ?1 AND next_at <= ?2 ORDER BY next_at, finding LIMIT 1",
            )?;
            let due = due.query_row(params![sink, now], |row| {
                Ok(SetAside {
                    finding: row.get(0)?,
                    failures: row.get(1)?,
                    next_at: row.get(2)?,
                    why: row.get(3)?,
                })
            });
            let mut all =
                reader.prepare_cached("SELECT count(*) FROM set_aside WHERE sink = ?1")?;
            let all = all.query_row([sink], |row| row.get(0))?;
            Ok((due.optional()?, restored(all)))
        })
    }

    /// Findings, or calls of people, that each sink in use has not been told of in their latest
    /// version, by its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lags(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let sinks = self.sinks().clone();
        self.readers.read("count what is not delivered", |reader| {
            let mut behind = reader.prepare_cached(
                "SELECT (SELECT count(*) FROM findings WHERE findings.change > sinks.change)
                     + (SELECT count(*) FROM set_aside WHERE sink = sinks.name)
                 FROM sinks WHERE name = ?1",
            )?;
            let mut untold = reader.prepare_cached(
                "SELECT count(*) FROM pages WHERE sink = ?1 AND delivered < revision",
            )?;
            let mut lags = BTreeMap::new();
            for (name, sink) in sinks {
                let question = if sink.is_for_people { &mut untold } else { &mut behind };
                let lag = question.query_row([&name], |row| row.get(0)).optional()?;
                lags.insert(name, restored(lag.unwrap_or(0)));
            }
            Ok(lags)
        })
    }

    /// What sinks refused, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let question = "SELECT at, sink, finding, revision, cluster, why
                        FROM dead_letters ORDER BY number";
        self.rows("read dead letters", question, |row| {
            Ok(DeadLetter {
                at: row.get(0)?,
                sink: row.get(1)?,
                finding: row.get(2)?,
                revision: restored(row.get(3)?),
                cluster: row.get(4)?,
                why: row.get(5)?,
            })
        })
    }

    /// Notes of what type a sink in use is.
    pub fn sink_kind(&self, name: &str, kind: &'static str) {
        if let Some(sink) = self.sinks().get_mut(name) {
            sink.kind = kind;
        }
    }

    /// Notes what a sink said when it last failed; nothing when it takes findings again.
    pub fn sink_trouble(&self, name: &str, trouble: Option<String>) {
        if let Some(sink) = self.sinks().get_mut(name) {
            sink.trouble = trouble;
        }
    }

    /// How each sink in use stands, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sink_states(&self) -> Result<Vec<SinkState>, StoreError> {
        let lags = self.lags()?;
        let sinks = self.sinks().clone();
        self.readers.read("read sinks", |reader| {
            let mut refused =
                reader.prepare_cached("SELECT count(*) FROM dead_letters WHERE sink = ?1")?;
            let mut aside =
                reader.prepare_cached("SELECT count(*) FROM set_aside WHERE sink = ?1")?;
            let mut told = reader.prepare_cached("SELECT used_at FROM sinks WHERE name = ?1")?;
            let mut states = Vec::new();
            for (name, InUse { kind, trouble, told_at, .. }) in sinks {
                let saved = told.query_row([&name], |row| row.get(0)).optional()?;
                states.push(SinkState {
                    kind,
                    pending: lags.get(&name).copied().unwrap_or(0),
                    set_aside: restored(aside.query_row([&name], |row| row.get(0))?),
                    refused: restored(refused.query_row([&name], |row| row.get(0))?),
                    used_at: told_at.or(saved).unwrap_or(0),
                    trouble,
                    name,
                });
            }
            Ok(states)
        })
    }

    fn sinks(&self) -> MutexGuard<'_, BTreeMap<String, InUse>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cursor(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT change FROM sinks WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

pub(super) fn refuse(
    transaction: &Transaction<'_>,
    sink: &str,
    refused: &[DeadLetter],
) -> rusqlite::Result<()> {
    for letter in refused {
        let mut put = transaction.prepare_cached(
            "INSERT INTO dead_letters (at, sink, finding, revision, cluster, why)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let DeadLetter { at, finding, revision, cluster, why, .. } = letter;
        put.execute(params![at, sink, finding, stored(*revision), cluster, why])?;
        let entry = LedgerEntry {
            kind: LedgerKind::Undeliverable,
            cluster: cluster.clone(),
            item: sink.to_owned(),
            at: *at,
            count: 1,
        };
        count(transaction, &[entry])?;
    }
    Ok(())
}
