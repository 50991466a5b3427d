//! Which events have been seen lately: a retried delivery must not count twice.
//!
//! The horizon is bounded by arrival time and by number; an event that comes again beyond it is
//! taken for new.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arrow::array::{
    Array as _, AsArray as _, BooleanArray, DictionaryArray, RecordBatch, StringViewArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

use super::repeating::text;

/// Hashes seen lately: bounded by number and by time of arrival.
#[derive(Debug)]
pub struct Horizon {
    hashes: HashSet<u128>,
    order: VecDeque<(i64, u128)>,
    hashes_max: usize,
    span: i64,
}

impl Horizon {
    /// A horizon of at most `hashes_max` hashes and `span` microseconds of arrival.
    #[must_use]
    pub fn new(hashes_max: usize, span: i64) -> Self {
        Self { hashes: HashSet::new(), order: VecDeque::new(), hashes_max, span }
    }

    /// How long a hash is known, microseconds of arrival.
    #[must_use]
    pub fn span(&self) -> i64 {
        self.span
    }

    /// Takes note of a hash that arrived at `now`; false when it is a repeat.
    pub fn insert(&mut self, hash: u128, now: i64) -> bool {
        self.forget(now);
        let new = self.hashes.insert(hash);
        if new {
            self.order.push_back((now, hash));
        }
        new
    }

    fn forget(&mut self, now: i64) {
        while let Some((at, hash)) = self.order.front().copied() {
            if self.order.len() < self.hashes_max && at.saturating_add(self.span) >= now {
                break;
            }
            self.order.pop_front();
            self.hashes.remove(&hash);
        }
    }
}

/// Events of the horizon: their ids, and the requests and stages that they are about.
#[derive(Debug)]
pub struct Seen {
    ids: Horizon,
    /// Hashes of cluster, audit id and stage: text that clients choose, so the seed is secret.
    stages: Horizon,
    seed: RandomState,
}

impl Seen {
    /// A horizon of at most `events_max` events and `span` microseconds of arrival.
    #[must_use]
    pub fn new(events_max: usize, span: i64) -> Self {
        Self {
            ids: Horizon::new(events_max, span),
            stages: Horizon::new(events_max, span),
            seed: RandomState::new(),
        }
    }

    /// The rows that are new as of `now`, in their order; the rest are repeats. A new row whose
    /// cluster, audit id and stage were those of another has its `conflict` set: aggregated API
    /// servers do that lawfully, and a client that chooses its audit id can.
    ///
    /// # Errors
    /// Only when the batch is not of the events table.
    pub fn keep_new(&mut self, batch: &RecordBatch, now: i64) -> Result<RecordBatch, ArrowError> {
        let names = Names::of(batch)?;
        let (mut new, mut conflicts) = (Vec::with_capacity(batch.num_rows()), 0_usize);
        let mut marks = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let id = names.event_id.is_valid(row).then(|| names.event_id.value(row));
            let is_new = match id.map(|id| u128::from_str_radix(id, 16)) {
                Some(Ok(id)) => self.ids.insert(id, now),
                _ => true,
            };
            new.push(is_new);
            if is_new {
                let conflict = names.stage_of(row).is_some_and(|about| {
                    !self.stages.insert(u128::from(self.seed.hash_one(about)), now)
                });
                conflicts += usize::from(conflict);
                marks.push(conflict);
            }
        }
        let rows = if marks.len() == batch.num_rows() {
            batch.clone()
        } else {
            filter_record_batch(batch, &BooleanArray::from(new))?
        };
        if conflicts == 0 { Ok(rows) } else { mark(&rows, marks) }
    }
}

/// The columns that say what an event is about.
struct Names<'a> {
    event_id: &'a StringViewArray,
    audit_id: &'a StringViewArray,
    cluster: &'a DictionaryArray<Int32Type>,
    stage: &'a DictionaryArray<Int32Type>,
}

impl<'a> Names<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema();
        let column = |name: &str| schema.index_of(name).map(|index| batch.column(index));
        let wrong = |name: &str| ArrowError::SchemaError(format!("{name} has another type"));
        let text = |name: &str| column(name)?.as_string_view_opt().ok_or_else(|| wrong(name));
        let repeating =
            |name: &str| column(name)?.as_dictionary_opt::<Int32Type>().ok_or_else(|| wrong(name));
        Ok(Self {
            event_id: text("event_id")?,
            audit_id: text("audit_id")?,
            cluster: repeating("cluster")?,
            stage: repeating("stage")?,
        })
    }

    /// Cluster, audit id and stage of a row that has an audit id.
    fn stage_of(&self, row: usize) -> Option<(Option<&'a str>, &'a str, Option<&'a str>)> {
        let audit_id = self.audit_id.is_valid(row).then(|| self.audit_id.value(row))?;
        Some((text(self.cluster, row), audit_id, text(self.stage, row)))
    }
}

fn mark(rows: &RecordBatch, marks: Vec<bool>) -> Result<RecordBatch, ArrowError> {
    let index = rows.schema().index_of("conflict")?;
    let mut columns = rows.columns().to_vec();
    if let Some(column) = columns.get_mut(index) {
        *column = Arc::new(BooleanArray::from(marks));
    }
    RecordBatch::try_new(rows.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Delivery};
    use crate::event::Rows;

    #[test]
    fn the_horizon_is_bounded_by_number_and_by_time() {
        let mut horizon = Horizon::new(2, 10);
        assert!(horizon.insert(1, 0) && !horizon.insert(1, 0) && horizon.insert(2, 0));
        assert!(horizon.insert(3, 0));
        assert!(horizon.insert(1, 0), "the oldest of three is beyond a horizon of two");
        assert!(!horizon.insert(1, 10));
        assert!(horizon.insert(1, 11), "ten microseconds are over");
    }

    #[test]
    fn the_same_stage_with_other_content_is_kept_and_marked() {
        let rows = |events: &[(&str, &str, &str)]| {
            let mut rows = Rows::new();
            for (cluster, stage, user) in events {
                let body = format!(
                    r#"{{"auditID":"a","stage":"{stage}","user":{{"username":"{user}"}}}}"#
                );
                let delivery =
                    Delivery { cluster, source: "file", received_at: 0, body: body.as_bytes() };
                Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
            }
            rows.finish()
        };
        let marks = |kept: &RecordBatch| -> Vec<bool> {
            let column = kept.column_by_name("conflict").unwrap();
            column.as_boolean().values().iter().collect()
        };
        let mut seen = Seen::new(100, 100);
        let first = rows(&[("c", "Panic", "a"), ("c", "Panic", "a"), ("c", "Other", "a")]);
        assert_eq!(marks(&seen.keep_new(&first, 0).unwrap()), [false, false]);
        let then = rows(&[("c", "Panic", "a"), ("d", "Panic", "a"), ("c", "Panic", "b")]);
        assert_eq!(marks(&seen.keep_new(&then, 0).unwrap()), [false, true]);
    }
}
