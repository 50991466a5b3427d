//! Where a tail continues after a restart: a mark in a file of its own.
//!
//! Promise: what is loaded is what was saved last, whole, wherever the process or the machine
//! stopped: the mark is written beside the old one, synced, and renamed over it.
//!
//! Never: a mark is never ahead of the journal. It is saved after its lines were accepted, so a
//! crash between the two reads one chunk again and loses none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which file it is, for as long as it exists; inodes of removed files are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The beginning of a file, which does not change while lines are only appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// How many bytes it covers; none while nothing was read.
    pub(super) bytes: u64,
    /// SHA-256 of them, in hexadecimal digits.
    pub(super) sha256: String,
}

/// How far a log was read. The stored form is JSON of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// The file that was being read.
    pub(super) file: FileId,
    /// Bytes of it that were accepted or passed over.
    pub(super) offset: u64,
    /// How it begins; never covers more than `offset` bytes.
    pub(super) head: Head,
    /// Its modification time when it was last read, nanoseconds since 1970, UTC.
    pub(super) modified_ns: i64,
    /// Whether `offset` is inside a line that is too long: the rest of it is passed over.
    pub(super) in_long_line: bool,
}

/// Why the progress of a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// The file or its folder cannot be read or created.
    #[error("open progress `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there, but it is none of ours.
    #[error("read progress `{path}`; remove it to read the log from its beginning")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
}

/// The file that holds one source's mark: `DATA/sources/<name>.json`.
#[derive(Debug)]
pub(super) struct ProgressFile {
    path: PathBuf,
    folder: PathBuf,
}

impl ProgressFile {
    /// The file of this source, its folder created when it is missing, and the mark in it.
    pub(super) fn open(data: &Path, source: &str) -> Result<(Self, Option<Mark>), ProgressError> {
        let folder = data.join("sources");
        let path = folder.join(format!("{source}.json"));
        let fail = |source| ProgressError::Open { path: path.clone(), source };
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(fail)?;
            sync(data).map_err(fail)?;
        }
        let mark = match fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                Some(
                    read.map_err(|source| ProgressError::Malformed { path: path.clone(), source })?,
                )
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error)),
        };
        Ok((Self { path, folder }, mark))
    }

    /// Replaces the mark. When this returns, it is on disk.
    pub(super) fn save(&self, mark: &Mark) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(mark)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync(&self.folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A file's name is on disk only once its folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that older versions wrote must stay readable.
    const STORED: &str = concat!(
        r#"{"file":{"device":66,"inode":1234},"offset":99,"head":{"bytes":99,"sha256":"00ff"},"#,
        r#""modified_ns":1700000000000000000,"in_long_line":false}"#
    );

    fn mark() -> Mark {
        Mark {
            file: FileId { device: 66, inode: 1234 },
            offset: 99,
            head: Head { bytes: 99, sha256: "00ff".to_owned() },
            modified_ns: 1_700_000_000_000_000_000,
            in_long_line: false,
        }
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let data = tempfile::tempdir().unwrap();
        let (file, before) = ProgressFile::open(data.path(), "one").unwrap();
        assert_eq!(before, None);
        file.save(&Mark { offset: 1, ..mark() }).unwrap();
        file.save(&mark()).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), STORED);
        assert_eq!(ProgressFile::open(data.path(), "one").unwrap().1, Some(mark()));
        assert_eq!(ProgressFile::open(data.path(), "two").unwrap().1, None);
    }

    #[test]
    fn a_save_that_was_cut_short_leaves_the_old_mark() {
        let data = tempfile::tempdir().unwrap();
        let (file, _) = ProgressFile::open(data.path(), "one").unwrap();
        file.save(&mark()).unwrap();
        fs::write(file.path().with_extension("json.new"), "{\"fi").unwrap();
        assert_eq!(ProgressFile::open(data.path(), "one").unwrap().1, Some(mark()));
        file.save(&Mark { offset: 2, ..mark() }).unwrap();
        assert_eq!(ProgressFile::open(data.path(), "one").unwrap().1.unwrap().offset, 2);
    }

    #[test]
    fn what_is_none_of_ours_is_not_guessed_at() {
        let data = tempfile::tempdir().unwrap();
        let (file, _) = ProgressFile::open(data.path(), "one").unwrap();
        fs::write(file.path(), "{}").unwrap();
        let error = ProgressFile::open(data.path(), "one").unwrap_err().to_string();
        assert!(error.contains("one.json`; remove it to read the log from its beginning"));
    }
}
