//! A local folder as an object store whose writes are on the disk when they return.
//!
//! The store of the `object_store` crate makes a write visible at once and leaves it to the
//! system when it reaches the disk. What history takes over is given up by the journal, so here a
//! `put` returns after the file and its name were synced.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

/// The file system, with durable writes.
#[derive(Debug)]
pub(super) struct Durable {
    inner: LocalFileSystem,
    written: AtomicU64,
}

impl Durable {
    /// All of the file system: paths are absolute ones without the leading slash.
    pub(super) fn new() -> Self {
        Self { inner: LocalFileSystem::new(), written: AtomicU64::new(0) }
    }

    fn put(&self, path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        create_folders(folder)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let staged = staged(path, number);
        let written = write(&staged, payload).and_then(|()| {
            if create { std::fs::hard_link(&staged, path) } else { std::fs::rename(&staged, path) }
        });
        if create || written.is_err() {
            // After a crash it is found and removed by the upkeep.
            let _ = std::fs::remove_file(&staged);
        }
        written?;
        File::open(folder)?.sync_all()
    }
}

/// The name under which a file is written before it is whole. `#` and digits: what the crate's
/// own listing passes over.
fn staged(path: &FilePath, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}{number}", std::process::id()));
    PathBuf::from(name)
}

fn write(path: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    payload.iter().try_for_each(|bytes| file.write_all(bytes))?;
    file.sync_all()
}

/// Creates a folder and its parents, each of them durable by name.
fn create_folders(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    create_folders(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("durable local files")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Durable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, options).await,
        };
        let path = self.inner.path_to_filesystem(location)?;
        // A file is written by the thread that waits for it: history has threads of its own.
        self.put(&path, &payload, create).map_err(|source| {
            let path = location.to_string();
            let source = Box::new(source);
            match source.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
                _ => Error::Generic { store: "local files", source },
            }
        })?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
