//! The file operations that the journal relies on, so that tests can crash them.
//!
//! What a crash keeps: the bytes of a file up to its last `sync`, and the names of a folder up to
//! its last `sync_names`. Everything newer may be there, be missing, or be there in part.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file of so many zero bytes, or opens it and makes it so; not synced.
    ///
    /// # Errors
    /// When there is no room.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// When there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// When there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes created and removed names durable.
    ///
    /// # Errors
    /// When the device fails.
    fn sync_names(&self) -> io::Result<()>;

    /// Bytes that can still be written to the device.
    ///
    /// # Errors
    /// When the device cannot be asked.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A file; calls of different threads must not touch the same bytes.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// When not all could be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to the buffer's length at an offset; fewer bytes only at the file's end.
    ///
    /// # Errors
    /// When the device fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// When the device fails: what was written since the last sync may be lost, and asking again
    /// may lie about it.
    fn sync(&self) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// When the device fails.
    fn bytes(&self) -> io::Result<u64>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, creating it when missing; only its owner may look into it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

/// Zeros are written in pieces of this size.
const ZEROS: usize = 1 << 20;

impl Disk for Folder {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.path.join(name))?;
        file.set_len(bytes)?;
        // Really written, not only allocated: the first write to an allocated block changes the
        // file's metadata and makes its sync ten times slower.
        let zeros = vec![0; ZEROS];
        let mut offset = 0;
        while offset < bytes {
            let length = (bytes - offset).min(ZEROS as u64);
            let piece = zeros.get(..usize::try_from(length).unwrap_or(ZEROS)).unwrap_or(&zeros);
            file.write_all_at(piece, offset)?;
            offset += length;
        }
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, offset + read as u64) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
