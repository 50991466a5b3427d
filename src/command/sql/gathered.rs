//! Files of events as a history of their own, so that questions of them are the questions of every
//! history.
//!
//! Promise: a file is read once, in pieces, and never held as a whole; an event that is there
//! twice counts once; the folder is its owner's only and goes when the answers have been given.
//! It lies where the system keeps temporary files (`TMPDIR`), and takes about as much room as the
//! logs packed by Zstandard.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow::array::RecordBatch;

use super::super::input::Input;
use super::super::meter::Meter;
use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, ROWS_BYTES_MAX};
use crate::event::Rows;
use crate::history::flush::History;
use crate::history::hot::Hot;
use crate::history::import::{Import, Progress};
use crate::history::location::Location;
use crate::history::redact::Redactor;

/// Bytes of rows that make a file.
const FILE_BYTES: usize = if ROWS_BYTES_MAX < 128 << 20 { ROWS_BYTES_MAX } else { 128 << 20 };

/// A folder that goes with this value.
pub(super) struct Folder(PathBuf);

/// What was read of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::command) struct Read {
    /// Events, without repeats.
    pub(in crate::command) events: u64,
    /// Events that came before.
    pub(in crate::command) repeated: u64,
    /// Pieces that are no events.
    pub(in crate::command) unreadable: u64,
}

/// Files on their way into a history.
struct Gathering<'a> {
    cluster: &'a str,
    decoder: Decoder,
    rows: Rows,
    import: Import,
    take: &'a mut dyn FnMut(&RecordBatch),
    read: Read,
}

impl Folder {
    /// A new one, for its owner only.
    fn create() -> Result<Self> {
        let name = format!("auditmill-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        let fail = || format!("create `{}`: TMPDIR says where", path.display());
        DirBuilder::new().mode(0o700).create(&path).with_context(fail)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Reads the files, `-` for standard input, and gives every row to `take` on its way, repeats
/// among them.
///
/// # Errors
/// When a file cannot be read, or there is no room.
pub(super) fn gather(
    cluster: &str,
    paths: &[PathBuf],
    take: &mut dyn FnMut(&RecordBatch),
) -> Result<(Folder, History, Read)> {
    // That a history was made is news of a server, not of a command that lets it go again.
    let nobody = tracing::subscriber::NoSubscriber::new();
    tracing::subscriber::with_default(nobody, || gather_aside(cluster, paths, take))
}

fn gather_aside(
    cluster: &str,
    paths: &[PathBuf],
    take: &mut dyn FnMut(&RecordBatch),
) -> Result<(Folder, History, Read)> {
    let sizes = paths.iter().map(|path| size(path)).sum::<Result<u64>>()?;
    let folder = Folder::create()?;
    let import = Import::open(Location::folder(&folder.0)?, "files", Redactor::default(), None)?;
    let (decoder, rows, read) = (Decoder::new(), Rows::new(), Read::default());
    let mut gathering = Gathering { cluster, decoder, rows, import, take, read };
    let mut meter = Meter::start(sizes);
    let mut before = 0;
    for path in paths {
        let fail = || format!("read `{}`", path.display());
        before += gathering.file(path, &mut meter, before).with_context(fail)?;
    }
    gathering.store()?;
    meter.end();
    let read = gathering.read;
    drop(gathering);
    let history = History::open(Location::folder(&folder.0)?, "", Arc::new(Hot::new(0)))?;
    Ok((folder, history, read))
}

/// Bytes of a file, 0 of standard input.
fn size(path: &Path) -> Result<u64> {
    if path == Path::new("-") {
        return Ok(0);
    }
    let about = path.metadata().with_context(|| format!("read `{}`", path.display()))?;
    if about.is_dir() {
        bail!("`{}` is a folder: name the files in it", path.display());
    }
    Ok(about.len())
}

impl Gathering<'_> {
    /// Reads a file; gives its bytes as they lie on the disk.
    fn file(&mut self, path: &Path, meter: &mut Meter, before: u64) -> Result<u64> {
        let mut input = Input::open(path)?;
        while let Some(body) = input.next_chunk()? {
            let (cluster, received_at) = (self.cluster, now_micros());
            let delivery = Delivery { cluster, source: "file", received_at, body: &body };
            let mut quarantined = Vec::new();
            let mut stored = Ok(());
            let Self { decoder, rows, import, take, read, .. } = self;
            decoder.decode_in_parts(&delivery, rows, &mut quarantined, |rows| {
                if stored.is_ok() {
                    stored = put(import, &rows.finish(), *take, read);
                }
            });
            stored?;
            self.read.unreadable += quarantined.len() as u64;
            if self.rows.bytes() >= FILE_BYTES {
                self.store()?;
            }
            meter.tell(before + input.bytes_read(), self.read.events + self.read.repeated);
        }
        Ok(input.bytes_read())
    }

    /// Makes files of what waits.
    fn store(&mut self) -> Result<()> {
        if !self.rows.is_empty() {
            put(&mut self.import, &self.rows.finish(), self.take, &mut self.read)?;
        }
        Ok(self.import.commit(None, Progress::default())?)
    }
}

fn put(
    import: &mut Import,
    rows: &RecordBatch,
    take: &mut dyn FnMut(&RecordBatch),
    read: &mut Read,
) -> Result<()> {
    take(rows);
    let stored = import.store(rows)?;
    read.events += stored.new;
    read.repeated += stored.known;
    Ok(())
}
