//! The files of a log of proofs, read within bounds.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::error::HistoryError;
use super::location::Location;
use super::prover::FILE_LEAVES;
use crate::proof::key::{Head, NoteProblem, VerifierKey};
use crate::proof::tree::{Frontier, Hash};

/// The folder of all logs of proofs in the table's place.
pub(super) const FOLDER: &str = "_proof";
/// A head's file of more bytes is not read.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// A file of leaves of more bytes is not read.
const LEAVES_BYTES_MAX: u64 = 256 << 20;

/// The place of the log of one key.
pub(super) struct Place<'a> {
    location: &'a Location,
    key: &'a VerifierKey,
}

/// Whether the error says that there is no such file.
pub(super) fn no_log(error: &HistoryError) -> bool {
    matches!(error, HistoryError::File(object_store::Error::NotFound { .. }))
}

impl<'a> Place<'a> {
    pub(super) fn new(location: &'a Location, key: &'a VerifierKey) -> Self {
        Self { location, key }
    }

    fn folder(&self) -> String {
        format!("{FOLDER}/{}", self.key.id())
    }

    pub(super) fn fail(&self, why: &str) -> HistoryError {
        HistoryError::Proof { path: self.folder(), why: why.to_owned() }
    }

    pub(super) async fn put_leaves(&self, number: u64, bytes: Vec<u8>) -> Result<(), HistoryError> {
        self.location.put(&self.leaves_path(number), bytes).await
    }

    pub(super) async fn put_head(&self, head: &Head) -> Result<(), HistoryError> {
        let path = format!("{}/checkpoint", self.folder());
        self.location.put(&path, head.note.clone().into_bytes()).await
    }

    fn leaves_path(&self, number: u64) -> String {
        format!("{}/statements-{number:08}.jsonl", self.folder())
    }

    async fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, HistoryError> {
        let found = self.location.store().get(&Path::from(path)).await?;
        if found.meta.size > bytes_max {
            let (path, why) =
                (path.to_owned(), "it is larger than any that was written".to_owned());
            return Err(HistoryError::Proof { path, why });
        }
        Ok(found.bytes().await?.to_vec())
    }

    /// The signed head.
    pub(super) async fn head(&self) -> Result<Head, HistoryError> {
        let path = format!("{}/checkpoint", self.folder());
        let note = self.read(&path, HEAD_BYTES_MAX).await?;
        self.key
            .open_head(&note)
            .map_err(|why: NoteProblem| HistoryError::Proof { path, why: why.to_string() })
    }

    /// A file of leaves as it is.
    pub(super) async fn leaves(&self, number: u64) -> Result<Vec<u8>, HistoryError> {
        self.read(&self.leaves_path(number), LEAVES_BYTES_MAX).await
    }

    /// Gives each leaf below a size with its number, and the tree with it in.
    pub(super) async fn walk(
        &self,
        size: u64,
        mut each: impl FnMut(u64, &[u8], &Frontier) -> Result<(), HistoryError>,
    ) -> Result<Frontier, HistoryError> {
        let mut tree = Frontier::default();
        while tree.size() < size {
            let number = tree.size() / FILE_LEAVES;
            let path = self.leaves_path(number);
            let fail = |why: &str| HistoryError::Proof { path: path.clone(), why: why.to_owned() };
            let file = self.leaves(number).await;
            let gone = |error| if no_log(&error) { fail("it is missing") } else { error };
            let file = file.map_err(gone)?;
            let mut lines = file.split(|byte| *byte == b'\n');
            let before = lines.next().and_then(|line| serde_json::from_slice(line).ok());
            if before.as_ref() != Some(&tree) {
                return Err(fail("it does not go on where the file before it ends"));
            }
            let wanted = FILE_LEAVES.min(size - tree.size());
            let end = tree.size() + wanted;
            for line in lines.by_ref().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
                if line.is_empty() {
                    break;
                }
                let leaf = tree.size();
                tree.push(Hash::of_leaf(line));
                each(leaf, line, &tree)?;
            }
            if tree.size() < end {
                return Err(fail("it ends before its head does"));
            }
        }
        Ok(tree)
    }

    /// The ids of keys that have a log here.
    pub(super) async fn keys(&self) -> Result<BTreeSet<String>, HistoryError> {
        let folder = Path::from(FOLDER);
        let mut found = self.location.store().list(Some(&folder));
        let mut keys = BTreeSet::new();
        while let Some(object) = found.try_next().await? {
            let path = object.location.as_ref();
            let id = path.strip_prefix("_proof/").and_then(|rest| rest.split('/').next());
            keys.extend(id.map(str::to_owned));
            if keys.len() > 100 {
                break;
            }
        }
        Ok(keys)
    }
}
