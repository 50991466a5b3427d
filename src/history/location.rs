//! Where a history lies: a local folder, or a bucket by URL.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use url::Url;

use super::durable::Durable;
use super::error::HistoryError;

/// Variables of the environment that object stores are configured by.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// A place for a table and its files.
#[derive(Clone, Debug)]
pub struct Location {
    url: Url,
    /// Paths are relative to the table.
    store: Arc<dyn ObjectStore>,
    root: Arc<dyn ObjectStore>,
}

impl Location {
    /// A folder of the file system; it need not exist.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn folder(path: &FilePath) -> Result<Self, HistoryError> {
        let fail = |why: String| HistoryError::Location { url: path.display().to_string(), why };
        let path = std::path::absolute(path).map_err(|error| fail(error.to_string()))?;
        let url = Url::from_directory_path(&path).map_err(|()| fail("not a path".to_owned()))?;
        let prefix = object_store::path::Path::from_absolute_path(&path)
            .map_err(|error| fail(error.to_string()))?;
        let root: Arc<dyn ObjectStore> = Arc::new(Durable::new());
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
        Ok(Self { url, store, root })
    }

    /// A URL: `s3://bucket/path`, `gs://`, `az://` or `file://`. Options are those of the
    /// `object_store` crate (`aws_region`, `aws_endpoint`, ...); the variables of the environment
    /// that clouds' own tools read (`AWS_...`, `GOOGLE_...`, `AZURE_...`) are read too.
    ///
    /// # Errors
    /// When the URL or an option is not understood.
    pub fn url(text: &str, options: &BTreeMap<String, String>) -> Result<Self, HistoryError> {
        let fail = |why: String| HistoryError::Location { url: text.to_owned(), why };
        let mut url = Url::parse(text).map_err(|error| fail(error.to_string()))?;
        if let Ok(path) = url.to_file_path() {
            return Self::folder(&path);
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let environment = std::env::vars()
            .filter(|(name, _)| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let mut merged: BTreeMap<String, String> = environment.collect();
        merged.extend(options.clone());
        let (root, prefix) =
            object_store::parse_url_opts(&url, merged).map_err(|error| fail(error.to_string()))?;
        let root: Arc<dyn ObjectStore> = Arc::from(root);
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
        Ok(Self { url, store, root })
    }

    /// The table's address.
    #[must_use]
    pub fn address(&self) -> &Url {
        &self.url
    }

    /// The folder of the file system that it is; `None` for a bucket.
    #[must_use]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        self.url.to_file_path().ok()
    }

    /// The files, by paths relative to the table.
    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) fn log(&self) -> LogStoreRef {
        let (store, root) = (Arc::clone(&self.store), Arc::clone(&self.root));
        default_logstore(store, root, &self.url, &StorageConfig::default())
    }
}
