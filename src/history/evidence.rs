//! Events of the history with the proof that they are in it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::error::DataFusionError;
use tokio::runtime::Builder;

use super::error::HistoryError;
use super::file::DataFile;
use super::location::Location;
use super::log::Log;
use super::proven::{Place, no_log};
use super::stored::each_row;
use crate::event::time::parse_rfc3339;
use crate::proof::account::Account;
use crate::proof::bundle::{Event, Leaf, Missing};
use crate::proof::key::{Head, VerifierKey};
use crate::proof::statement::{SegmentId, Statement};
use crate::proof::tree::{Hash, Tree};

/// An event that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its cluster.
    pub cluster: String,
    /// Its id.
    pub event_id: String,
    /// Microseconds since 1970, UTC.
    pub event_time: i64,
}

impl Wanted {
    /// Of this time, RFC 3339; `None` when it is none.
    #[must_use]
    pub fn at(cluster: &str, event_id: &str, event_time: &str) -> Option<Self> {
        let event_time = parse_rfc3339(event_time)?;
        Some(Self { cluster: cluster.to_owned(), event_id: event_id.to_owned(), event_time })
    }
}

/// What was found of them.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The log's signed head.
    pub head: Head,
    /// The leaves that tell of their segments.
    pub leaves: Vec<Leaf>,
    /// The events with their proofs.
    pub events: Vec<Event>,
    /// Those that are not proven.
    pub missing: Vec<Missing>,
}

/// An event as it was found.
struct Found {
    event_id: String,
    segment: SegmentId,
    row: u64,
    content: serde_json::Map<String, serde_json::Value>,
    proof: Vec<Hash>,
}

/// Gathers events and their proofs; `None` where there is no log of proofs of this key.
///
/// # Errors
/// When the place cannot be read, or the log does not lead to its head.
pub fn gather(
    location: &Location,
    key: &VerifierKey,
    wanted: &[Wanted],
) -> Result<Option<Gathered>, HistoryError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DataFusionError::from)?;
    runtime.block_on(async {
        let place = Place::new(location, key);
        let head = match place.head().await {
            Ok(head) => head,
            Err(error) if no_log(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut log, mut account) = (Tree::default(), Account::default());
        let walked = place.walk(head.size, |leaf, line, _| {
            log.push(Hash::of_leaf(line));
            let said = Statement::parse(line);
            account.take(Some(leaf), said.ok_or_else(|| place.fail("a leaf is no statement"))?);
            Ok(())
        });
        if walked.await?.root() != head.root {
            return Err(place.fail("it does not lead to its signed head"));
        }
        let mut gathered =
            Gathered { head, leaves: Vec::new(), events: Vec::new(), missing: Vec::new() };
        let mut leaves: BTreeSet<u64> = BTreeSet::new();
        let mut found = find(location, wanted).await?;
        for event in wanted {
            let why = |why: &str| Missing { event_id: event.event_id.clone(), why: why.to_owned() };
            let Some(of) = found.remove(&event.event_id) else {
                gathered
                    .missing
                    .push(why("not in the history: not written yet, or let go of since"));
                continue;
            };
            let Some(of) = of else {
                gathered.missing.push(why("from before the log of proofs began"));
                continue;
            };
            let Some(leaf) = account.segment(of.segment).and_then(|made| made.leaf) else {
                gathered.missing.push(why("not below a signed head yet: try again"));
                continue;
            };
            leaves.insert(leaf);
            let Found { event_id, segment, row, content, proof } = of;
            gathered.events.push(Event { event_id, leaf, segment, row, content, proof });
        }
        let read = place.walk(gathered.head.size, |number, line, _| {
            if leaves.contains(&number) {
                let statement = String::from_utf8_lossy(line).into_owned();
                let proof = log.proof(number).unwrap_or_default();
                gathered.leaves.push(Leaf { number, statement, proof });
            }
            Ok(())
        });
        read.await?;
        Ok(Some(gathered))
    })
}

/// The events that files have, by id; `None` for one of no segment.
async fn find(
    location: &Location,
    wanted: &[Wanted],
) -> Result<BTreeMap<String, Option<Found>>, HistoryError> {
    let mut found = BTreeMap::new();
    let Some(log) = Log::open_existing(location, "").await? else { return Ok(found) };
    for file in log.files()? {
        let ids: BTreeSet<&str> = wanted
            .iter()
            .filter(|event| is_maybe_in(event, &file) && !found.contains_key(&event.event_id))
            .map(|event| event.event_id.as_str())
            .collect();
        if !ids.is_empty() {
            find_in(location, &file, &ids, &mut found).await?;
        }
    }
    Ok(found)
}

pub(super) fn is_maybe_in(event: &Wanted, file: &DataFile) -> bool {
    let (first, last) = file.event_time;
    event.cluster == file.cluster && (first..=last).contains(&event.event_time)
}

async fn find_in(
    location: &Location,
    file: &DataFile,
    ids: &BTreeSet<&str>,
    found: &mut BTreeMap<String, Option<Found>>,
) -> Result<(), HistoryError> {
    let mut trees: BTreeMap<SegmentId, Tree> = BTreeMap::new();
    let mut here = Vec::new();
    each_row(location, file, |beside, contents, row| {
        let id = contents.text("event_id", row).filter(|id| ids.contains(id)).map(str::to_owned);
        let Some(segment) = beside.segment else {
            if let Some(id) = id {
                found.entry(id).or_insert(None);
            }
            return;
        };
        let tree = trees.entry(segment).or_default();
        if let Some(event_id) = id {
            let (row_number, content) = (tree.size(), contents.json(row));
            here.push(Found { event_id, segment, row: row_number, content, proof: Vec::new() });
        }
        tree.push(contents.hash(row));
    })
    .await?;
    for mut event in here {
        let proof = trees.get(&event.segment).and_then(|tree| tree.proof(event.row));
        event.proof = proof.unwrap_or_default();
        found.insert(event.event_id.clone(), Some(event));
    }
    Ok(())
}
