//! A store that is being written is copied as it is at one moment.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::database::{BUSY, StoreError, stored};

/// Copies the store in a file to a new file, durably; false when there is none. What it says of
/// records from position `end` on is taken back: how far it is, and which deliveries it has seen.
/// Findings of such records stay, and what was counted of them.
///
/// # Errors
/// When the one cannot be read or the other not be written.
pub fn copy(from: &Path, to: &Path, end: u64) -> Result<bool, StoreError> {
    if !copy_file(from, to)? {
        return Ok(false);
    }
    let fail = |source| StoreError::Failed { what: "copy the store", source };
    let create = |source| StoreError::Create { path: to.to_owned(), source };
    let copy = Connection::open(to).map_err(fail)?;
    copy.execute("UPDATE place SET position = min(position, ?1)", [stored(end)]).map_err(fail)?;
    copy.execute("DELETE FROM deliveries WHERE next > ?1", [stored(end)]).map_err(fail)?;
    drop(copy);
    File::open(to).and_then(|file| file.sync_all()).map_err(create)?;
    Ok(true)
}

/// Copies a file of SQLite's, as it is at one moment, to a new file for its owner only, durably;
/// false when there is none.
///
/// # Errors
/// When the one cannot be read or the other not be written.
pub fn copy_file(from: &Path, to: &Path) -> Result<bool, StoreError> {
    if !from.exists() {
        return Ok(false);
    }
    let fail = |source| StoreError::Failed { what: "copy a database", source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags);
    let source = source.map_err(|source| StoreError::Open { path: from.to_owned(), source })?;
    source.busy_timeout(BUSY).map_err(fail)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(fail)?;
    let create = |source| StoreError::Create { path: to.to_owned(), source };
    std::fs::set_permissions(to, Permissions::from_mode(0o600)).map_err(create)?;
    File::open(to).and_then(|file| file.sync_all()).map_err(create)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::step::Step;
    use crate::findings::store::{Store, StoreSettings};

    #[test]
    fn a_copy_knows_nothing_of_later_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.db");
        let settings = StoreSettings { findings_max: 10, keep: i64::MAX };
        let store = Store::open(&path, settings).unwrap();
        for next in [5, 9] {
            let deliveries = [(u128::from(next), 100)];
            store.commit(&Step { next, deliveries: &deliveries, ..Step::default() }).unwrap();
        }
        for (end, position, seen) in [(7, 7, vec![(5, 100)]), (20, 9, vec![(5, 100), (9, 100)])] {
            let to = folder.path().join(format!("copy-{end}.db"));
            assert!(copy(&path, &to, end).unwrap());
            let copied = Store::open(&to, settings).unwrap();
            assert_eq!(copied.position().unwrap(), position);
            assert_eq!(copied.deliveries_since(0, 100).unwrap(), seen);
        }
        assert_eq!(store.position().unwrap(), 9, "the store is as it was");
        assert!(!copy(&folder.path().join("none"), &folder.path().join("x"), 1).unwrap());
    }
}
