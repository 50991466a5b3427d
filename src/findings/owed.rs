//! What history is still to be asked about: events came for buckets that detections had forgotten.
//!
//! It is committed with the position of these events, so that no end of the process loses it.

use rusqlite::{Transaction, params};

use super::database::StoreError;
use super::store::Store;
use crate::detect::outcome::Beyond;

impl Store {
    /// What was owed when the last step was committed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn owed(&self) -> Result<Vec<Beyond>, StoreError> {
        self.readers.read("read what is owed", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT cluster, detection, first, last, arrived FROM owed
                 ORDER BY cluster, detection, first",
            )?;
            let owed = statement.query_map([], |row| {
                Ok(Beyond {
                    cluster: row.get(0)?,
                    detection: row.get(1)?,
                    from: row.get(2)?,
                    to: row.get(3)?,
                    arrived: row.get(4)?,
                })
            })?;
            owed.collect()
        })
    }
}

/// Puts what is owed now in the place of what was.
pub(super) fn keep(transaction: &Transaction<'_>, owed: &[Beyond]) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM owed")?.execute([])?;
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO owed (cluster, detection, first, last, arrived)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for Beyond { cluster, detection, from, to, arrived } in owed {
        put.execute(params![cluster, detection, from, to, arrived])?;
    }
    Ok(())
}
