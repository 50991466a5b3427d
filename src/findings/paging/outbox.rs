//! Calls on their way: what each sink was not told yet, and what came of trying.
//!
//! Only the newest revision of a page is told. That it was is saved after, so a crash tells it
//! again, under the same id and revision.

use rusqlite::params;

use super::Call;
use crate::event::time::rfc3339;
use crate::findings::database::{StoreError, restored, stored};
use crate::findings::sinks::{DeadLetter, refuse};
use crate::findings::store::{Change, Store};

/// A call that a sink was not told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The number of its change.
    pub change: Change,
    /// How often it was tried without success.
    pub failures: u32,
    /// When to try, microseconds since 1970, UTC.
    pub next_at: i64,
    /// Since when it waits.
    pub since: i64,
    /// What is to be told.
    pub call: Call,
}

impl Store {
    /// What a sink was not told yet, what is due first first; at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn calls(&self, sink: &str, limit: usize) -> Result<Vec<Pending>, StoreError> {
        self.readers.read("read calls", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT change, failures, next_at, since, revision, body FROM pages
                 WHERE sink = ?1 AND delivered < revision ORDER BY next_at, change LIMIT ?2",
            )?;
            let rows = statement.query_map(params![sink, stored(limit as u64)], |row| {
                let body: String = row.get(5)?;
                let Ok(call) = serde_json::from_str::<Call>(&body) else { return Ok(None) };
                Ok(Some(Pending {
                    change: restored(row.get(0)?),
                    failures: row.get(1)?,
                    next_at: row.get(2)?,
                    since: row.get(3)?,
                    call: Call { revision: restored(row.get(4)?), ..call },
                }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// A sink was told as of `now` (microseconds since 1970, UTC), or refused for good.
    ///
    /// # Errors
    /// When it cannot be written; it will be told again then.
    pub fn call_settled(
        &self,
        sink: &str,
        call: &Call,
        refused: Option<&DeadLetter>,
        now: i64,
    ) -> Result<(), StoreError> {
        self.write("save what was told", |transaction, _| {
            let update = "UPDATE pages SET delivered = max(delivered, ?3), failures = 0
                          WHERE sink = ?1 AND id = ?2";
            let mut update = transaction.prepare_cached(update)?;
            update.execute(params![sink, call.id, stored(call.revision)])?;
            refuse(transaction, sink, refused.map_or(&[], std::slice::from_ref))
        })?;
        if refused.is_none() {
            self.told(sink, now);
        }
        Ok(())
    }

    /// What a sink was told that is not over and whose last event is no older than `since`
    /// (microseconds since 1970, UTC), newest first; at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn standing_calls(
        &self,
        sink: &str,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Call>, StoreError> {
        self.readers.read("read what stands", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT revision, body FROM pages
                 WHERE sink = ?1 AND delivered = revision
                   AND json_extract(body, '$.state') <> 'closed'
                   AND json_extract(body, '$.last_seen') >= ?2
                 ORDER BY change DESC LIMIT ?3",
            )?;
            let limit = stored(limit as u64);
            let rows = statement.query_map(params![sink, rfc3339(since), limit], |row| {
                let (revision, body): (i64, String) = (row.get(0)?, row.get(1)?);
                let call = serde_json::from_str::<Call>(&body).ok();
                Ok(call.map(|call| Call { revision: restored(revision), ..call }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// A sink could not be told, and is to be tried again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn call_failed(&self, sink: &str, call: &Call, next_at: i64) -> Result<(), StoreError> {
        self.write("save what failed", |transaction, _| {
            let update = "UPDATE pages SET failures = failures + 1, next_at = ?3
                          WHERE sink = ?1 AND id = ?2 AND revision = ?4";
            let mut update = transaction.prepare_cached(update)?;
            update.execute(params![sink, call.id, next_at, stored(call.revision)])?;
            Ok(())
        })
    }
}
