//! What is forgotten: findings that neither happened nor changed for long, findings beyond their
//! number, the ledger past its time. What a sink had not been told of a finding is counted in the
//! ledger as given up.

use rusqlite::{Transaction, params};

use super::database::{StoreError, restored, stored};
use super::step::{LedgerKind, hour};
use super::store::Store;
use crate::event::time::rfc3339;

/// Rows deleted at once: between two such parts others write.
const PART: u64 = 1_000;
/// Pages of 4 KiB that are given back to the disk at once.
const PAGES_MAX: u32 = 4_096;
/// Dead letters that are kept.
const DEAD_LETTERS_MAX: i64 = 10_000;

impl Store {
    /// Forgets what is past its time as of `now` (microseconds since 1970, UTC). To be called every
    /// minute: it is also how the store learns when its changes were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn retain(&self, now: i64) -> Result<(), StoreError> {
        let before = now.saturating_sub(self.settings.keep);
        let change =
            self.write("mark the hour", |transaction, _| mark(transaction, before, now))?;
        let last_seen = rfc3339(before);
        // Findings of an old log have old events: they are kept as long as others.
        let condition =
            format!("last_seen < ?1 AND change <= {change} ORDER BY last_seen LIMIT ?2");
        let mut full = true;
        while full {
            full = self.write("forget findings", |transaction, findings| {
                let gone = give_up(transaction, &condition, &last_seen, PART, now)?;
                *findings = findings.saturating_sub(gone);
                Ok(gone == PART)
            })?;
        }
        self.write("forget the ledger", |transaction, _| {
            transaction.execute("DELETE FROM ledger WHERE hour < ?1", [hour(before)])?;
            transaction.execute(
                "DELETE FROM dead_letters WHERE at < ?1 OR number <=
                     (SELECT max(number) FROM dead_letters) - ?2",
                [before, DEAD_LETTERS_MAX],
            )?;
            // Of findings that are gone there is nothing left to deliver.
            transaction.execute(
                "DELETE FROM set_aside WHERE finding NOT IN (SELECT id FROM findings)",
                [],
            )?;
            forget_incidents(transaction, before)
        })?;
        // A store of an earlier version has no such pages.
        let give_back = format!("PRAGMA incremental_vacuum({PAGES_MAX})");
        self.write("give back what is free", |transaction, _| {
            let mut pages = transaction.prepare_cached(&give_back)?;
            let mut pages = pages.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        })
    }
}

/// Forgets incidents none of whose findings is left, and what was done before `before` to what is
/// not there any more.
fn forget_incidents(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<()> {
    let gone = "DELETE FROM incident_members WHERE finding NOT IN (SELECT id FROM findings)";
    if transaction.execute(gone, [])? > 0 {
        let left = "(SELECT incident FROM incident_members)";
        let spans = format!("DELETE FROM incident_spans WHERE incident NOT IN {left}");
        transaction.execute(&spans, [])?;
    }
    // One without findings may be one that was merged or withdrawn: its followers are told of that.
    let incidents = "DELETE FROM incidents WHERE last < ?1
         AND id NOT IN (SELECT incident FROM incident_members)";
    transaction.execute(incidents, [before])?;
    let known = "(SELECT id FROM findings UNION ALL SELECT id FROM incidents)";
    let states = format!("DELETE FROM states WHERE at < ?1 AND id NOT IN {known}");
    transaction.execute(&states, [before])?;
    let triage = format!("DELETE FROM triage WHERE at < ?1 AND id NOT IN {known}");
    transaction.execute(&triage, [before])?;
    Ok(())
}

/// Takes note of the last change as of `now`; gives the last one that is surely before `before`.
fn mark(transaction: &Transaction<'_>, before: i64, now: i64) -> rusqlite::Result<i64> {
    transaction.execute(
        "INSERT OR IGNORE INTO marks (hour, change) SELECT ?1, change FROM place",
        [hour(now)],
    )?;
    // A mark is of some time within its hour.
    let question = "SELECT max(hour), change FROM marks WHERE hour < ?1";
    let (hour, change): (Option<i64>, Option<i64>) =
        transaction.query_row(question, [hour(before)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    transaction.execute("DELETE FROM marks WHERE hour < ?1", [hour])?;
    Ok(change.unwrap_or(0))
}

/// Gives up the `excess` findings that did not change for longest; gives how many there were.
pub(super) fn give_up_oldest(transaction: &Transaction<'_>, excess: u64) -> rusqlite::Result<u64> {
    // The clock of the store is its newest arrival: good enough to tell an hour.
    let now = transaction
        .query_row("SELECT max(last_arrival) FROM clusters", [], |row| row.get(0))
        .map(Option::<i64>::unwrap_or_default)?;
    give_up(transaction, "?1 = '' ORDER BY change LIMIT ?2", "", excess, now)
}

/// Deletes the findings of a condition, at most `limit`; for each sink that had not been told of
/// one there is a count in the ledger.
fn give_up(
    transaction: &Transaction<'_>,
    condition: &str,
    value: &str,
    limit: u64,
    now: i64,
) -> rusqlite::Result<u64> {
    let mut untold = transaction.prepare_cached(&format!(
        "INSERT INTO ledger (kind, cluster, item, hour, count)
         SELECT ?3, gone.cluster, sinks.name, ?4, count(*)
         FROM (SELECT id, change, cluster FROM findings WHERE {condition}) AS gone
         JOIN sinks ON gone.change > sinks.change OR EXISTS (
             SELECT 1 FROM set_aside WHERE sink = sinks.name AND finding = gone.id)
         GROUP BY gone.cluster, sinks.name
         ON CONFLICT DO UPDATE SET count = count + excluded.count"
    ))?;
    let kind = LedgerKind::GivenUp.as_str();
    untold.execute(params![value, stored(limit), kind, hour(now)])?;
    let mut delete = transaction.prepare_cached(&format!(
        "DELETE FROM findings WHERE change IN (SELECT change FROM findings WHERE {condition})"
    ))?;
    let gone = delete.execute(params![value, stored(limit)])?;
    Ok(restored(i64::try_from(gone).unwrap_or(0)))
}
