//! Where queries put what has no room in memory: files in one folder, bounded together, and none
//! while the disk has no more than its reserve.
//!
//! The folder is emptied when it is opened: nothing in it is of use to a later run.

use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;

/// The device is asked for its room each time that so much was written.
const LOOK_BYTES: u64 = 4 << 20;

/// A folder for what queries have no memory for.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    bytes_max: u64,
    reserve_bytes: u64,
}

impl Spill {
    /// Takes a folder, which is emptied, for up to `bytes_max` in all; `reserve_bytes` of its
    /// device are left free.
    ///
    /// # Errors
    /// When it cannot be emptied or created.
    pub fn open(folder: &Path, bytes_max: u64, reserve_bytes: u64) -> io::Result<Self> {
        clear(folder)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), bytes_max, reserve_bytes })
    }

    /// What the engine is to make its files by.
    pub(super) fn builder(self) -> Result<DiskManagerBuilder> {
        let files = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![self.folder.clone()]))
            .with_max_temp_directory_size(self.bytes_max)
            .build()?;
        let (room, files) = (Arc::new(self), Arc::new(files));
        Ok(DiskManagerBuilder::default().with_temp_file_factory(Arc::new(Factory { files, room })))
    }

    fn check(&self) -> io::Result<()> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < self.reserve_bytes {
            return Err(io::Error::other(
                "no room in memory, and the disk is down to its reserve (`[journal] reserve`): ask \
                 about less",
            ));
        }
        Ok(())
    }
}

/// Removes a folder with all that is in it, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub fn clear(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Factory {
    files: Arc<DiskManager>,
    room: Arc<Spill>,
}

impl TempFileFactory for Factory {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        self.room.check().map_err(|error| resources_datafusion_err!("{error}"))?;
        let inner = self.files.create_tmp_file(description)?;
        Ok(Arc::new(Spilled { inner, room: Arc::clone(&self.room) }))
    }
}

struct Spilled {
    inner: Arc<dyn SpillFile>,
    room: Arc<Spill>,
}

impl fmt::Debug for Spilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spilled").field("path", &self.inner.path()).finish_non_exhaustive()
    }
}

impl SpillFile for Spilled {
    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }

    fn size(&self) -> Option<u64> {
        self.inner.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.inner.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let (inner, room) = (self.inner.open_writer()?, Arc::clone(&self.room));
        Ok(Box::new(Output { inner, room, written: 0 }))
    }
}

struct Output {
    inner: Box<dyn SpillWriter>,
    room: Arc<Spill>,
    /// Since the device was asked.
    written: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        if self.written >= LOOK_BYTES {
            self.room.check()?;
            self.written = 0;
        }
        self.inner.write(bytes).map_err(|error| {
            // Told from a failing disk by its words alone.
            if !error.to_string().contains("exceeded the allowable limit") {
                return error;
            }
            io::Error::other(format!(
                "no room in memory, and queries have put {} bytes on the disk, as much as they may \
                 (`[query] spill`): ask about less, or add LIMIT",
                self.room.bytes_max
            ))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl SpillWriter for Output {
    fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }
}
