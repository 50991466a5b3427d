//! Findings by id, the ledger, clusters and deliveries, in one file; see [`super::database`] for
//! its form.
//!
//! A step is committed whole or not at all, with the position up to which it covers the journal.
//! A finding whose content is stored already changes nothing; else its revision grows by one and it
//! gets the next change number, so that whoever follows misses none. A step below the position has
//! been committed before, so what it has of findings are old versions: they are put in only where
//! there is none, and nothing is counted again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::watch;

use super::database::{Readers, StoreError, open_writer, restored, stored};
use super::incident::regroup;
use super::record::FindingRecord;
use super::sinks::InUse;
use super::step::{ClusterSeen, LedgerEntry, Step, hour};

/// Number of a change; grows by one.
pub type Change = u64;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// How many findings; beyond, those that did not change for longest are given up.
    pub findings_max: u64,
    /// How long after their last event and their last change findings are kept, microseconds; the
    /// ledger likewise.
    pub keep: i64,
}

/// How far the store is, for who waits for changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The last change.
    pub change: Change,
    /// Nothing more will change.
    pub closed: bool,
}

/// The store. Who writes waits for who writes; who reads waits for nobody.
#[derive(Debug)]
pub struct Store {
    pub(super) settings: StoreSettings,
    writer: Mutex<Writer>,
    pub(super) readers: Readers,
    tip: watch::Sender<Tip>,
    /// Changes up to it survive a crash of the machine.
    synced: AtomicU64,
    /// The sinks in use, by name.
    pub(super) sinks: Mutex<BTreeMap<String, InUse>>,
    /// The longest time between two findings of one incident, microseconds.
    gap: AtomicI64,
}

/// What it is as long as nobody says otherwise: four hours.
pub const INCIDENT_GAP: i64 = 4 * 3_600_000_000;

#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    /// The number of findings stored.
    findings: u64,
}

/// The row of `place`.
struct Place {
    position: u64,
    change: Change,
    /// The last change of an incident.
    incident_change: Change,
}

impl Store {
    /// Opens the store in this file, creating it when missing.
    ///
    /// # Errors
    /// When the file cannot be used, also because a newer program wrote it.
    pub fn open(path: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        let connection = open_writer(path)?;
        let fail = |source| StoreError::Open { path: path.to_owned(), source };
        let place = place(&connection).map_err(fail)?;
        let findings = connection.query_row("SELECT count(*) FROM findings", [], |row| row.get(0));
        let findings = restored(findings.map_err(fail)?);
        let store = Self {
            settings,
            writer: Mutex::new(Writer { connection, findings }),
            readers: Readers::new(path),
            tip: watch::Sender::new(Tip { change: place.change, closed: false }),
            synced: AtomicU64::new(0),
            sinks: Mutex::default(),
            gap: AtomicI64::new(INCIDENT_GAP),
        };
        store.group_earlier()?;
        Ok(store)
    }

    /// From now on findings this far apart (microseconds) are of one incident; those that are in
    /// one stay.
    pub fn set_gap(&self, gap: i64) {
        self.gap.store(gap, Ordering::SeqCst);
    }

    /// Lets those who follow look again, though no finding changed.
    pub(super) fn wake(&self) {
        self.tip.send_modify(|_| {});
    }

    pub(super) fn gap(&self) -> i64 {
        self.gap.load(Ordering::SeqCst)
    }

    /// Stores a step; gives the findings that had not been there before. After an error nothing of
    /// it is stored, and the same step may be committed again.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk.
    pub fn commit(&self, step: &Step<'_>) -> Result<Vec<Arc<FindingRecord>>, StoreError> {
        let findings_max = self.settings.findings_max.max(1);
        let (new, change) = self.write("commit a step", |transaction, findings| {
            let mut place = place(transaction)?;
            let repeated = step.next < place.position;
            let (mut new, mut changed) = (Vec::new(), Vec::new());
            for finding in step.findings {
                let record = FindingRecord::new(finding, 0);
                let Some(record) = upsert(transaction, record, repeated, &mut place.change)? else {
                    continue;
                };
                if record.revision == 1 {
                    new.push(Arc::clone(&record));
                }
                changed.push((place.change, record));
            }
            regroup(transaction, &changed, self.gap(), &mut place.incident_change)?;
            if !repeated {
                count(transaction, step.ledger)?;
                see(transaction, step.clusters)?;
            }
            keep_deliveries(transaction, step)?;
            // An earlier run may owe more than is known while its records are read again.
            if let Some(owed) = step.owed.filter(|_| !repeated) {
                super::owed::keep(transaction, owed)?;
            }
            let position = place.position.max(step.next);
            let mut statement = transaction.prepare_cached(
                "UPDATE place SET position = ?1, change = ?2, incident_change = ?3",
            )?;
            let numbers = [position, place.change, place.incident_change];
            statement.execute(numbers.map(stored))?;
            *findings += new.len() as u64;
            let excess = findings.saturating_sub(findings_max);
            if excess > 0 {
                *findings -= super::retention::give_up_oldest(transaction, excess)?;
            }
            Ok((new, place.change))
        })?;
        self.tip.send_if_modified(|tip| {
            let grown = change > tip.change;
            tip.change = tip.change.max(change);
            grown
        });
        Ok(new)
    }

    /// One transaction that changes incidents: `work` gets the number of the last change, and
    /// leaves the last one that it gave. Those who follow look again.
    pub(super) fn write_changes<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, &mut Change) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let (answer, changed) = self.write(what, |transaction, _| {
            let before = place(transaction)?.incident_change;
            let mut change = before;
            let answer = work(transaction, &mut change)?;
            let update = "UPDATE place SET incident_change = ?1";
            transaction.prepare_cached(update)?.execute([stored(change)])?;
            Ok((answer, change > before))
        })?;
        if changed {
            self.wake();
        }
        Ok(answer)
    }

    /// The position up to which steps are committed; 0 at first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn position(&self) -> Result<u64, StoreError> {
        self.readers.read("read the position", |reader| Ok(place(reader)?.position))
    }

    /// The number of the last change that is committed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_change(&self) -> Result<Change, StoreError> {
        self.readers.read("read the last change", |reader| Ok(place(reader)?.change))
    }

    /// Makes all that is committed survive a crash of the machine. Cheap when it does already.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        let fail = |source| StoreError::Failed { what: "sync", source };
        let writer = self.lock();
        let change = place(&writer.connection).map_err(fail)?.change;
        // In WAL mode a commit under `full` syncs the log, and with it all commits before.
        writer.connection.pragma_update(None, "synchronous", "full").map_err(fail)?;
        let written =
            writer.connection.execute("UPDATE place SET change = change WHERE one = 1", []);
        let back = writer.connection.pragma_update(None, "synchronous", "normal");
        written.and(back.map(|()| 0)).map_err(fail)?;
        self.synced.fetch_max(change, Ordering::SeqCst);
        Ok(())
    }

    /// Makes the changes up to this one survive a crash of the machine: what a sink was told must
    /// not get another content under the same revision.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync_change(&self, change: Change) -> Result<(), StoreError> {
        if self.synced.load(Ordering::SeqCst) < change { self.sync() } else { Ok(()) }
    }

    /// Forgets deliveries that arrived before this time (microseconds since 1970, UTC).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn forget_deliveries(&self, before: i64) -> Result<(), StoreError> {
        self.write("forget deliveries", |transaction, _| {
            transaction.execute("DELETE FROM deliveries WHERE arrival < ?1", [before])?;
            Ok(())
        })
    }

    /// Tells of changes as they come.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    /// Nothing more will change: who follows may end once it has everything.
    pub fn close(&self) {
        self.tip.send_modify(|tip| tip.closed = true);
    }

    /// One transaction; `change` may alter the number of findings.
    pub(super) fn write<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&Transaction<'_>, &mut u64) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let fail = |source| StoreError::Failed { what, source };
        let mut writer = self.lock();
        let mut findings = writer.findings;
        let immediate = TransactionBehavior::Immediate;
        let transaction = writer.connection.transaction_with_behavior(immediate).map_err(fail)?;
        let answer = change(&transaction, &mut findings).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        writer.findings = findings;
        Ok(answer)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(connection: &Connection) -> rusqlite::Result<Place> {
    let mut statement =
        connection.prepare_cached("SELECT position, change, incident_change FROM place")?;
    statement.query_row([], |row| {
        Ok(Place {
            position: restored(row.get(0)?),
            change: restored(row.get(1)?),
            incident_change: restored(row.get(2)?),
        })
    })
}

/// Stores a version of a finding under the next change number; gives it when it is another than
/// before.
fn upsert(
    transaction: &Transaction<'_>,
    mut record: FindingRecord,
    repeated: bool,
    change: &mut Change,
) -> rusqlite::Result<Option<Arc<FindingRecord>>> {
    // Texts and numbers only: there is nothing that cannot be written.
    let body = serde_json::to_string(&record).unwrap_or_default();
    let mut before =
        transaction.prepare_cached("SELECT revision, body FROM findings WHERE id = ?1")?;
    let before: Option<(i64, bool)> = before
        .query_row([&record.id], |row| Ok((row.get(0)?, row.get_ref(1)?.as_str()? == body)))
        .optional()?;
    match before {
        Some((_, same)) if same || repeated => return Ok(None),
        Some((revision, _)) => record.revision = restored(revision) + 1,
        None => record.revision = 1,
    }
    *change += 1;
    // The row moves to the end of its table: changes are read in their order.
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO findings
         (change, id, revision, first_seen, last_seen, severity, detection, cluster, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    put.execute(params![
        stored(*change),
        record.id,
        stored(record.revision),
        record.first_seen,
        record.last_seen,
        record.severity.as_str(),
        record.detection,
        record.cluster,
        body
    ])?;
    Ok(Some(Arc::new(record)))
}

pub(super) fn count(
    transaction: &Transaction<'_>,
    entries: &[LedgerEntry],
) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO ledger (kind, cluster, item, hour, count) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
    )?;
    for entry in entries.iter().filter(|entry| entry.count > 0) {
        let (kind, count) = (entry.kind.as_str(), stored(entry.count));
        add.execute(params![kind, entry.cluster, entry.item, hour(entry.at), count])?;
    }
    Ok(())
}

fn see(transaction: &Transaction<'_>, clusters: &[ClusterSeen]) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO clusters (cluster, last_event, last_arrival, events, duplicates)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET
             last_event = max(last_event, excluded.last_event),
             last_arrival = max(last_arrival, excluded.last_arrival),
             events = events + excluded.events,
             duplicates = duplicates + excluded.duplicates",
    )?;
    for seen in clusters {
        let (events, duplicates) = (stored(seen.events), stored(seen.duplicates));
        let (event, arrival) = (seen.last_event, seen.last_arrival);
        add.execute(params![seen.cluster, event, arrival, events, duplicates])?;
    }
    Ok(())
}

fn keep_deliveries(transaction: &Transaction<'_>, step: &Step<'_>) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO deliveries (hash, arrival, next) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET
             arrival = max(arrival, excluded.arrival), next = excluded.next",
    )?;
    for (hash, arrival) in step.deliveries {
        add.execute(params![hash.to_be_bytes(), arrival, stored(step.next)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
