//! Where events are in what is proven: segment, row and leaf.
//!
//! Nothing of it is kept with a finding: it is looked up in the files and the log of the moment, so
//! that it is true after files were joined and after a restart. Bloom filters lead to the rows; of
//! the log one or two files are read, because since it began there is one leaf for each version.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use serde::Serialize;

use super::encode::{ROW, SEGMENT};
use super::error::HistoryError;
use super::events::scan_ids;
use super::evidence::{Wanted, is_maybe_in};
use super::file::DataFile;
use super::hot::Hot;
use super::location::Location;
use super::proven::{Place, no_log};
use super::prover::FILE_LEAVES;
use super::stored::{numbers, of_other_types};
use crate::proof::key::VerifierKey;
use crate::proof::mark::number;
use crate::proof::statement::{SegmentId, Statement, What};

/// The history of a running server and its log of proofs.
pub struct Whereabouts {
    hot: Arc<Hot>,
    location: Location,
    key: VerifierKey,
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whereabouts").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// The segment that it came with.
    pub segment: SegmentId,
    /// Its place there, from 0; `None` in files of earlier versions.
    pub row: Option<u64>,
    /// The leaf of the log that tells of the segment; `None` while no head is signed over it.
    pub leaf: Option<u64>,
}

impl Whereabouts {
    /// Of the files that `hot` shows, in this place, signed by this key.
    #[must_use]
    pub fn new(hot: Arc<Hot>, location: Location, key: VerifierKey) -> Self {
        Self { hot, location, key }
    }

    /// Where these events are, in their order; `None` of one that is in no file, or in one from
    /// before there were proofs.
    ///
    /// # Errors
    /// When files or the log cannot be read now.
    pub async fn of(&self, wanted: &[Wanted]) -> Result<Vec<Option<Spot>>, HistoryError> {
        let files = self.hot.asked()?.files;
        let is_near = |file: &&DataFile| wanted.iter().any(|event| is_maybe_in(event, file));
        let files: Vec<&DataFile> = files.iter().filter(is_near).collect();
        if files.is_empty() {
            return Ok(vec![None; wanted.len()]);
        }
        let mut spots = self.spots(&files, wanted).await?;
        let segments: BTreeSet<SegmentId> = spots.values().map(|spot| spot.segment).collect();
        if !segments.is_empty() {
            let leaves = self.leaves(&segments).await?;
            for spot in spots.values_mut() {
                spot.leaf = leaves.get(&spot.segment).copied();
            }
        }
        Ok(wanted.iter().map(|event| spots.get(event.event_id.as_str()).copied()).collect())
    }

    /// By id those events that are in these files, at least one; of no leaf yet.
    async fn spots<'w>(
        &self,
        files: &[&DataFile],
        wanted: &'w [Wanted],
    ) -> Result<HashMap<&'w str, Spot>, HistoryError> {
        let ids: BTreeSet<&'w str> = wanted.iter().map(|event| event.event_id.as_str()).collect();
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let plan = scan_ids(&context.state(), self.location.store(), files, &ids)?;
        let mut rows = execute_stream(plan, context.task_ctx())?;
        let mut spots = HashMap::new();
        while let Some(batch) = rows.next().await {
            note(&batch?, &ids, &mut spots)?;
        }
        Ok(spots)
    }

    /// The leaves that tell of these segments.
    async fn leaves(
        &self,
        segments: &BTreeSet<SegmentId>,
    ) -> Result<BTreeMap<SegmentId, u64>, HistoryError> {
        let (place, mut leaves) = (Place::new(&self.location, &self.key), BTreeMap::new());
        let size = match place.head().await {
            Ok(head) => head.size,
            Err(error) if no_log(&error) => 0,
            Err(error) => return Err(error),
        };
        let Some(last) = size.checked_sub(1) else { return Ok(leaves) };
        let mut files = HashMap::new();
        let Some(newest) = statement(&place, &mut files, last).await? else { return Ok(leaves) };
        for segment in segments {
            let back = newest.version.checked_sub(segment.version());
            let Some(leaf) = back.and_then(|back| last.checked_sub(back)) else { continue };
            let said = statement(&place, &mut files, leaf).await?;
            // A log that was begun anew does not tell of what came before.
            if said.is_some_and(|said| tells_of(&said, *segment)) {
                leaves.insert(*segment, leaf);
            }
        }
        Ok(leaves)
    }
}

/// Notes those of these rows that are wanted.
fn note<'w>(
    batch: &RecordBatch,
    ids: &BTreeSet<&'w str>,
    spots: &mut HashMap<&'w str, Spot>,
) -> Result<(), HistoryError> {
    let found = batch.column_by_name("event_id").and_then(|array| array.as_string_view_opt());
    let found = found.ok_or_else(of_other_types)?;
    let (segments, marks) = (numbers(batch, SEGMENT)?, numbers(batch, ROW)?);
    for (row, id) in found.iter().enumerate() {
        let Some(id) = id.and_then(|id| ids.get(id)).filter(|_| segments.is_valid(row)) else {
            continue;
        };
        let segment = SegmentId(segments.value(row));
        let row = marks.is_valid(row).then(|| number(marks.value(row))).flatten();
        spots.insert(*id, Spot { segment, row, leaf: None });
    }
    Ok(())
}

/// What a leaf says; files that were read before are in `files`, by number.
async fn statement(
    place: &Place<'_>,
    files: &mut HashMap<u64, Vec<u8>>,
    leaf: u64,
) -> Result<Option<Statement>, HistoryError> {
    let number = leaf / FILE_LEAVES;
    let file = match files.entry(number) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(place.leaves(number).await?),
    };
    let lines = file.split(|byte| *byte == b'\n');
    // The first line is the tree before these leaves.
    let mut lines = lines.skip(1).skip(usize::try_from(leaf % FILE_LEAVES).unwrap_or(usize::MAX));
    Ok(lines.next().and_then(Statement::parse))
}

fn tells_of(said: &Statement, segment: SegmentId) -> bool {
    match &said.what {
        What::Came { segments, .. } => segments.iter().any(|came| came.id == segment),
        _ => false,
    }
}
