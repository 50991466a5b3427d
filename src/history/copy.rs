//! A history that is being written is copied as it was at one moment.
//!
//! Files of the table never change once they are written, so a copy is what the newest version of
//! the table names, and the log up to that version. Files go away some time after no version needs
//! them; when one does while it is copied, the copy goes on with the newest version of then.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use datafusion::error::DataFusionError;
use tokio::runtime::Builder;

use super::error::HistoryError;
use super::location::Location;
use super::log::Log;
use crate::journal::Position;

const LOG: &str = "_delta_log";
const PROOF: &str = super::proven::FOLDER;
/// How often the newest version is looked for when files went away.
const TRIES: u32 = 20;

/// What a history was when it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// All events of the journal below this position are in the table.
    pub position: Position,
    /// Its rows.
    pub rows: u64,
}

/// Copies the history of a local place to a new folder; of a remote one, only tells how far it
/// is. `None` when there is none.
///
/// # Errors
/// When the place cannot be read or the folder not be written.
pub fn copy(location: &Location, writer: &str, to: &Path) -> Result<Option<Version>, HistoryError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DataFusionError::from)?;
    let mut copied = BTreeSet::new();
    for _ in 0..TRIES {
        // First: it must not tell of later versions than are copied.
        if let Some(from) = location.path() {
            copy_proof(&from.join(PROOF), &to.join(PROOF))?;
        }
        let Some(log) = runtime.block_on(Log::open_existing(location, writer))? else {
            return Ok(None);
        };
        let files = log.files()?;
        let rows = files.iter().map(|file| file.rows).sum();
        let version = Version { position: log.position(), rows };
        let Some(from) = location.path() else { return Ok(Some(version)) };
        let mut paths: BTreeSet<String> = files.into_iter().map(|file| file.path).collect();
        let logged = log_files(&from, log.version()).map_err(copying(&from.join(LOG)))?;
        paths.extend(logged);
        for gone in copied.difference(&paths) {
            std::fs::remove_file(to.join(gone)).map_err(copying(&to.join(gone)))?;
        }
        copied.retain(|path| paths.contains(path));
        if copy_files(&from, to, &paths, &mut copied)? {
            return Ok(Some(version));
        }
    }
    Err(HistoryError::Restless)
}

/// Copies the logs of proofs: the head before the leaves, which never say less.
fn copy_proof(from: &Path, to: &Path) -> Result<(), HistoryError> {
    let entries = |folder: &Path| -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(PathBuf::from(entry?.file_name()));
        }
        // `checkpoint` comes before `statements-...`.
        names.sort();
        // What is half written has a name with a `#`.
        names.retain(|name| !name.to_string_lossy().contains('#'));
        Ok(names)
    };
    let keys = match entries(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        keys => keys.map_err(copying(from))?,
    };
    for key in keys {
        let folder = from.join(&key);
        for name in entries(&folder).map_err(copying(&folder))? {
            let file = folder.join(&name);
            copy_file(&file, &to.join(&key).join(&name)).map_err(copying(&file))?;
        }
    }
    Ok(())
}

/// Copies what is not copied yet; false when something is not there any more.
fn copy_files(
    from: &Path,
    to: &Path,
    paths: &BTreeSet<String>,
    copied: &mut BTreeSet<String>,
) -> Result<bool, HistoryError> {
    for path in paths {
        if copied.contains(path) {
            continue;
        }
        let file = from.join(path);
        match copy_file(&file, &to.join(path)) {
            Ok(()) => drop(copied.insert(path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(copying(&file)(error)),
        }
    }
    Ok(true)
}

/// Copies a file, durably, for its owner only; folders above it are made, their names not yet
/// durable.
///
/// # Errors
/// When the one cannot be read or the other not be written.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Names of the log's files up to a version, relative to the table. The hint where to begin is not
/// among them: it may speak of a later version, and readers do without.
fn log_files(table: &Path, version: u64) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(table.join(LOG))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.split('.').next().and_then(|number| number.parse::<u64>().ok());
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        let is_whole = matches!(extension, Some("json" | "parquet"));
        if is_whole && number.is_some_and(|number| number <= version) {
            found.push(format!("{LOG}/{name}"));
        }
    }
    Ok(found)
}

fn copying(path: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| HistoryError::Copy { path, source }
}
