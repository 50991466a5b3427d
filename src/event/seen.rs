//! Which events have been seen lately: a retried delivery must not count twice.
//!
//! The horizon is bounded by arrival time and by number; an event that comes again beyond it is
//! taken for new.

use std::collections::{HashSet, VecDeque};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

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

/// Event ids of the horizon.
#[derive(Debug)]
pub struct Seen(Horizon);

impl Seen {
    /// A horizon of at most `events_max` events and `span` microseconds of arrival.
    #[must_use]
    pub fn new(events_max: usize, span: i64) -> Self {
        Self(Horizon::new(events_max, span))
    }

    /// The rows that are new as of `now`, in their order; the rest are repeats.
    ///
    /// # Errors
    /// Only when the batch is not of the events table.
    pub fn keep_new(&mut self, batch: &RecordBatch, now: i64) -> Result<RecordBatch, ArrowError> {
        let column = batch.column(batch.schema().index_of("event_id")?);
        let Some(ids) = column.as_string_view_opt() else {
            return Err(ArrowError::SchemaError("event_id is not a string view".to_owned()));
        };
        let is_new = |id: Option<&str>| match id.map(|id| u128::from_str_radix(id, 16)) {
            Some(Ok(id)) => self.0.insert(id, now),
            _ => true,
        };
        let new: BooleanArray = ids.iter().map(is_new).map(Some).collect();
        if new.true_count() == new.len() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_is_bounded_by_number_and_by_time() {
        let mut horizon = Horizon::new(2, 10);
        assert!(horizon.insert(1, 0) && !horizon.insert(1, 0) && horizon.insert(2, 0));
        assert!(horizon.insert(3, 0));
        assert!(horizon.insert(1, 0), "the oldest of three is beyond a horizon of two");
        assert!(!horizon.insert(1, 10));
        assert!(horizon.insert(1, 11), "ten microseconds are over");
    }
}
