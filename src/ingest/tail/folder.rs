//! The files of one log: the one that is written, and the rotated ones beside it.
//!
//! Promise: a listing is of one moment. When the log was rotated while we looked, there is none.
//!
//! Rotated names are known from the two programs that rotate audit logs: the API server itself
//! (gopkg.in/natefinch/lumberjack.v2, `backupName`: `audit-2026-03-01T10-00-00.000.log`) and
//! logrotate (`audit.log.1`, `audit.log-20260301`). Compressed ones are not read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::progress::FileId;

/// A file of a log, as it was when we looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) bytes: u64,
    /// Nanoseconds since 1970, UTC.
    pub(super) modified_ns: i64,
}

/// All files of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The file that is written, unless it is missing.
    pub(super) at_path: Option<Found>,
    /// Rotated files, the oldest first.
    pub(super) rotated: Vec<Found>,
}

/// The identity that a file has while it exists.
pub(super) fn id(metadata: &Metadata) -> FileId {
    FileId { device: metadata.dev(), inode: metadata.ino() }
}

/// When a file was last written, nanoseconds since 1970, UTC; clamped in the year 2262.
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// The file at a path, or `None` when there is none. What is not a file is an error: opening a
/// pipe would wait for ever.
pub(super) fn look_at(path: &Path) -> io::Result<Option<Found>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Some(Found {
        path: path.to_owned(),
        id: id(&metadata),
        bytes: metadata.len(),
        modified_ns: modified_ns(&metadata),
    }))
}

/// The files of the log at `path`; `None` when it was rotated meanwhile: look again.
pub(super) fn listing(path: &Path) -> io::Result<Option<Listing>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let before = look_at(path)?;
    let mut rotated = Vec::new();
    let entries = match fs::read_dir(folder.unwrap_or(Path::new("."))) {
        Ok(entries) => entries,
        // A folder that is yet to come holds nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Listing { at_path: None, rotated }));
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !is_rotated(&name, &entry.file_name().to_string_lossy()) {
            continue;
        }
        // One that is gone already, or no file, is none of ours.
        if let Ok(Some(found)) = look_at(&entry.path()) {
            rotated.push(found);
        }
    }
    // A rename during the listing can hide a file from it, but not without changing this.
    let after = look_at(path)?;
    if before.as_ref().map(|found| found.id) != after.as_ref().map(|found| found.id) {
        return Ok(None);
    }
    rotated.retain(|found| after.as_ref().is_none_or(|after| after.id != found.id));
    // Files written in one tick of the clock: rotated names carry the time of rotation.
    rotated.sort_by(|a, b| (a.modified_ns, &a.path).cmp(&(b.modified_ns, &b.path)));
    Ok(Some(Listing { at_path: after, rotated }))
}

/// Whether `candidate` is what a rotation makes of the file `name`.
fn is_rotated(name: &str, candidate: &str) -> bool {
    let is_time_or_number = |text: &str| {
        let known = |b: u8| b.is_ascii_digit() || b"-._:TZ".contains(&b);
        text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(known)
    };
    let (stem, extension) = name.rfind('.').map_or((name, ""), |dot| name.split_at(dot));
    let by_itself = candidate
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(extension))
        .is_some_and(is_time_or_number);
    let by_logrotate = candidate
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(['.', '-']))
        .is_some_and(is_time_or_number);
    by_itself || by_logrotate
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn rotated_names_are_known() {
        for name in [
            "audit-2026-03-01T10-00-00.000.log",
            "audit.log.1",
            "audit.log.12",
            "audit.log-20260301",
        ] {
            assert!(is_rotated("audit.log", name), "{name}");
        }
        assert!(is_rotated("audit", "audit-2026-03-01T10-00-00.000"));
        for name in [
            "audit.log",
            "audit.log.bak",
            "audit.log.2.gz",
            "audit-2026-03-01T10-00-00.000.log.gz",
            "audit-policy.log",
            "audit-.log",
            "other-2026-03-01T10-00-00.000.log",
            "audit-1.txt",
        ] {
            assert!(!is_rotated("audit.log", name), "{name}");
        }
    }

    #[test]
    fn rotated_files_come_by_time_and_then_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, seconds: u64| {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        write("a-3.log", 5);
        write("a-2.log", 5);
        write("a-1.log", 9);
        write("a.log", 1);
        fs::create_dir(folder.path().join("a-4.log")).unwrap();
        let listing = listing(&folder.path().join("a.log")).unwrap().unwrap();
        let names: Vec<_> = listing.rotated.iter().map(|f| f.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a-2.log", "a-3.log", "a-1.log"]);
        assert_eq!(listing.at_path.unwrap().modified_ns, 1_000_000_000);
    }
}
