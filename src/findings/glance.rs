//! One finding of a store that somebody else may be writing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::database::{BUSY, StoreError, restored};
use super::record::FindingRecord;

/// The finding of this id in a store's file; `None` where there is none.
///
/// # Errors
/// When the file cannot be read.
pub fn finding(path: &Path, id: &str) -> Result<Option<FindingRecord>, StoreError> {
    let open = |source| StoreError::Open { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let store = Connection::open_with_flags(path, flags).map_err(open)?;
    store.busy_timeout(BUSY).map_err(open)?;
    let found = store
        .query_row("SELECT revision, body FROM findings WHERE id = ?1", [id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()
        .map_err(open)?;
    // What cannot be read is as good as none.
    let record = found.and_then(|(revision, body)| {
        let record: FindingRecord = serde_json::from_str(&body).ok()?;
        Some(FindingRecord { revision: restored(revision), ..record })
    });
    Ok(record)
}
