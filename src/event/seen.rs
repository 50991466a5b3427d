//! Which events have been seen lately: a retried delivery must not count twice.
//!
//! The horizon is bounded by arrival time and by number; an event that comes again beyond it is
//! taken for new.

use std::collections::{HashSet, VecDeque};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

/// Event ids of the horizon.
#[derive(Debug)]
pub struct Seen {
    ids: HashSet<u128>,
    order: VecDeque<(i64, u128)>,
    events_max: usize,
    span: i64,
}

impl Seen {
    /// A horizon of at most `events_max` events and `span` microseconds of arrival.
    #[must_use]
    pub fn new(events_max: usize, span: i64) -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), events_max, span }
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
            Some(Ok(id)) => self.insert(id, now),
            _ => true,
        };
        let new: BooleanArray = ids.iter().map(is_new).map(Some).collect();
        self.forget(now);
        if new.true_count() == new.len() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &new)
    }

    fn insert(&mut self, id: u128, now: i64) -> bool {
        let new = self.ids.insert(id);
        if new {
            self.order.push_back((now, id));
        }
        new
    }

    fn forget(&mut self, now: i64) {
        while let Some((at, id)) = self.order.front().copied() {
            if self.order.len() <= self.events_max && at.saturating_add(self.span) >= now {
                break;
            }
            self.order.pop_front();
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_is_bounded_by_number_and_by_time() {
        let mut seen = Seen::new(2, 10);
        assert!(seen.insert(1, 0) && !seen.insert(1, 0) && seen.insert(2, 0));
        assert!(seen.insert(3, 0));
        seen.forget(0);
        assert!(seen.insert(1, 0), "the oldest of three is beyond a horizon of two");
        seen.forget(11);
        assert!(seen.insert(3, 11), "ten microseconds are over");
    }
}
