//! What was committed, taken into the log of proofs, and its head signed.
//!
//! ```text
//! _proof/<id of the key>/
//!   statements-00000000.jsonl   line 1: the tree before its first leaf ({"size":0,"peaks":[]})
//!                               then 64 leaves, a line each: statements as they were signed
//!   checkpoint                  the signed head: only leaves below its size count
//! ```
//! The folder is in the table's place; readers of the table pass over names with an underscore.
//! Each file is written whole, its name given last.
//!
//! The order: the commit, which says itself what it is and is signed; then the statements; then the
//! head. A crash before the head leaves leaves that do not count, and they are written again, the
//! same ones, from the commits. So the log is never ahead of the table, and what the table has
//! beyond the log is signed one by one. Where there is no log, it begins with the version of then,
//! and names the files that it does not cover.

use std::time::{Duration, Instant};

use super::error::HistoryError;
use super::location::Location;
use super::log::Log;
use super::proven::{Place, no_log};
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::fault::point;
use crate::proof::key::{Head, SigningKey};
use crate::proof::statement::{FILES_MAX, Statement, What};
use crate::proof::tree::{Frontier, Hash};

/// Leaves of one file.
pub(super) const FILE_LEAVES: u64 = 64;
/// How long what failed is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// The log of proofs of one key, opened for writing once it can be.
pub(super) struct Prover {
    key: SigningKey,
    tip: Option<Tip>,
    failed: Option<Instant>,
    /// What was said of the last failure.
    said: String,
}

/// Where the log ends.
#[derive(Clone, Default)]
struct Tip {
    tree: Frontier,
    /// The last file as it is.
    file: Vec<u8>,
    /// The table's version that the last leaf tells of.
    version: Option<u64>,
}

impl Tip {
    fn push(&mut self, line: &[u8], version: u64) {
        if self.tree.size().is_multiple_of(FILE_LEAVES) {
            self.file.clear();
            // Numbers and texts only.
            self.file.extend(serde_json::to_vec(&self.tree).unwrap_or_default());
            self.file.push(b'\n');
        }
        self.tree.push(Hash::of_leaf(line));
        self.file.extend(line);
        self.file.push(b'\n');
        self.version = Some(version);
    }
}

impl Prover {
    pub(super) fn new(key: SigningKey) -> Self {
        Self { key, tip: None, failed: None, said: String::new() }
    }

    /// Takes the table's versions that are not in the log yet into it; the new head, if there were
    /// any. What failed is not tried again at once.
    pub(super) async fn prove(
        &mut self,
        location: &Location,
        log: &Log,
    ) -> Result<Option<Head>, HistoryError> {
        if self.failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(None);
        }
        let proven = self.take(location, log).await;
        self.failed = proven.is_err().then(Instant::now);
        proven
    }

    /// Whether a failure is another one than the last: the same is said once.
    pub(super) fn is_news(&mut self, error: &HistoryError) -> bool {
        let error = error.to_string();
        let is_news = error != self.said;
        self.said = error;
        is_news
    }

    async fn take(&mut self, location: &Location, log: &Log) -> Result<Option<Head>, HistoryError> {
        let place = Place::new(location, self.key.public());
        let (mut tip, signed) = match &self.tip {
            Some(tip) if tip.version == Some(log.version()) => return Ok(None),
            Some(tip) => (tip.clone(), None),
            None => open(&place).await?,
        };
        let before = tip.tree.size();
        let now = now_micros();
        match tip.version {
            None => {
                let files: Vec<String> = log.files()?.into_iter().map(|file| file.path).collect();
                let mut parts: Vec<&[String]> = files.chunks(FILES_MAX).collect();
                if parts.is_empty() {
                    parts.push(&[]);
                }
                for part in parts {
                    let what = What::Began { files: part.to_vec() };
                    let said = Statement { version: log.version(), at: rfc3339(now), what };
                    put(&place, &mut tip, &said.text(), said.version).await?;
                }
            }
            Some(version) => {
                for version in version + 1..=log.version() {
                    let said = log.statement(version, self.key.public(), now).await?;
                    put(&place, &mut tip, &said, version).await?;
                }
            }
        }
        let (size, root) = (tip.tree.size(), tip.tree.root());
        if size == before {
            self.tip = Some(tip);
            // Nobody may have been told of it.
            return Ok(signed);
        }
        place.put_leaves((size - 1) / FILE_LEAVES, tip.file.clone()).await?;
        point("proof_written");
        let head = self.key.sign_head(size, root).ok_or_else(|| place.fail("cannot be signed"))?;
        place.put_head(&head).await?;
        point("proof_signed");
        self.tip = Some(tip);
        Ok(Some(head))
    }
}

/// Adds a leaf; a file that is full is written.
async fn put(
    place: &Place<'_>,
    tip: &mut Tip,
    said: &str,
    version: u64,
) -> Result<(), HistoryError> {
    tip.push(said.as_bytes(), version);
    if tip.tree.size().is_multiple_of(FILE_LEAVES) {
        place.put_leaves(tip.tree.size() / FILE_LEAVES - 1, tip.file.clone()).await?;
    }
    Ok(())
}

/// Where the log ends by its head.
async fn open(place: &Place<'_>) -> Result<(Tip, Option<Head>), HistoryError> {
    let head = match place.head().await {
        Ok(head) => head,
        Err(error) if no_log(&error) => return Ok((Tip::default(), None)),
        Err(error) => return Err(error),
    };
    if head.size == 0 {
        return Ok((Tip::default(), None));
    }
    let first = (head.size - 1) / FILE_LEAVES * FILE_LEAVES;
    let file = place.leaves(first / FILE_LEAVES).await?;
    let mut lines = file.split(|byte| *byte == b'\n');
    let tree = lines.next().and_then(|line| serde_json::from_slice::<Frontier>(line).ok());
    let tree = tree.filter(|tree| tree.size() == first);
    let mut tip = Tip { tree: tree.unwrap_or_default(), ..Tip::default() };
    for line in lines.take(usize::try_from(head.size - first).unwrap_or(usize::MAX)) {
        let said = Statement::parse(line);
        let said = said.ok_or_else(|| place.fail("a line is no statement of this version"))?;
        tip.push(line, said.version);
    }
    if tip.tree.size() != head.size || tip.tree.root() != head.root {
        return Err(place.fail(
            "it does not lead to its signed head: `auditmill verify` says more; to begin a new \
             log, move the folder away",
        ));
    }
    Ok((tip, Some(head)))
}
