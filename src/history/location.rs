//! Where a history lies: a local folder, or a bucket by URL.
//!
//! A request to a bucket is given up after seconds: what history could not do is tried again by
//! whoever wanted it, and says so, instead of waiting in silence. Credentials are never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::durable::Durable;
use super::error::HistoryError;

/// Variables of the environment that object stores are configured by.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// How often a request is repeated, ...
const RETRIES: usize = 4;
/// ... and for how long after its first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one request may take when the options do not say: the largest file over a slow line.
const REQUEST_TIMEOUT: &str = "2m";

/// A place for a table and its files.
#[derive(Clone)]
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
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(HistoryError::Location {
                url: format!("{}://...", url.scheme()),
                why: "credentials and parameters belong into `[history.options]`".to_owned(),
            });
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let (root, prefix) = bucket(&url, options).map_err(fail)?;
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
        Ok(Self { url, store, root })
    }

    /// Writes a file, at a path relative to the table; it is durable then.
    pub(super) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), HistoryError> {
        self.store.put(&Path::from(path), bytes.into()).await?;
        Ok(())
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

impl fmt::Debug for Location {
    /// Without the stores, which have the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Builds the store of one kind of bucket: options come last, so that they win.
macro_rules! build {
    ($builder:ty, $url:expr, $options:expr) => {{
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let mut builder = <$builder>::new().with_url($url.as_str()).with_retry(retry);
        if let Ok(key) = "timeout".parse() {
            builder = builder.with_config(key, REQUEST_TIMEOUT);
        }
        // Variables that say something else are nobody's mistake.
        for (name, value) in environment() {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value);
            }
        }
        for (name, value) in $options {
            let key = name.to_ascii_lowercase().parse();
            let key = key.map_err(|_| format!("`[history.options] {name}` is not known for it"))?;
            builder = builder.with_config(key, value);
        }
        Arc::new(builder.build().map_err(|error| error.to_string())?)
    }};
}

/// The store of a bucket and the table's path in it, or what is wrong.
fn bucket(
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn ObjectStore>, object_store::path::Path), String> {
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|error| error.to_string())?;
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder, url, options),
        ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, url, options),
        ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, url, options),
        _ => {
            return Err("it is none of `s3://`, `gs://`, `az://`, `file://` and a folder".into());
        }
    };
    Ok((store, prefix))
}

/// What clouds' own tools are configured by, names in lower case.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars()
        .filter(|(name, _)| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: &str, options: &[(&str, &str)]) -> Result<Location, HistoryError> {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Location::url(url, &options.iter().map(text).collect())
    }

    #[test]
    fn buckets_of_three_clouds_are_places() {
        let check = |url: &str, options: &[(&str, &str)]| {
            assert_eq!(location(url, options).unwrap().address().as_str(), url);
        };
        let keys = [("aws_access_key_id", "a"), ("aws_secret_access_key", "aHVudGVyMg==")];
        check("s3://bucket/audit/", &keys);
        let key = ("azure_storage_account_key", "aHVudGVyMg==");
        check("az://bucket/audit/", &[("azure_storage_account_name", "a"), key]);
        check("gs://bucket/audit/", &[("google_skip_signature", "true")]);
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not() {
        let check = |url: &str, options: &[(&str, &str)], expected: &str| {
            let error = location(url, options).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        };
        check("s3://bucket/audit", &[("aws_regoin", "hunter2")], "`[history.options] aws_regoin`");
        check("ftp://bucket/audit", &[], "no place for a history");
        check("https://example.com/audit", &[], "none of `s3://`");
        check("s3://key:hunter2@bucket/audit", &[], "belong into `[history.options]`");
    }
}
