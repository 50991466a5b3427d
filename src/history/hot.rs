//! The newest rows, in memory: queryable as soon as they are decoded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::event::schema::events_schema;
use crate::journal::Position;

/// Small batches are joined until they have this many rows.
const ROWS_JOINED: usize = 8_192;
/// So many small batches wait before they are joined.
const SMALL_MAX: usize = 64;

/// Rows in the order in which they were processed.
#[derive(Debug)]
pub struct Hot {
    bytes_max: usize,
    state: Mutex<State>,
}

/// A batch, its size, and the lowest journal position that it has rows of.
#[derive(Debug)]
struct Held {
    batch: RecordBatch,
    bytes: usize,
    from: Position,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Held>,
    /// How many of the newest batches are small.
    small: usize,
    bytes: usize,
    rows: usize,
}

impl Hot {
    /// Room for so many bytes of rows.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Adds rows of journal records from `from` on; gives the number of old rows given up to make
    /// room.
    pub fn push(&self, batch: RecordBatch, from: Position) -> usize {
        if batch.num_rows() == 0 {
            return 0;
        }
        let mut state = self.lock();
        state.add(batch, from);
        if state.small >= SMALL_MAX {
            state.join();
        }
        let mut given_up = 0;
        while state.bytes > self.bytes_max && state.batches.len() > 1 {
            given_up += state.give_up();
        }
        given_up
    }

    /// Gives up the oldest rows; gives their number, 0 when there are none.
    pub fn give_up(&self) -> usize {
        self.lock().give_up()
    }

    /// The lowest journal position that rows are held of.
    #[must_use]
    pub fn oldest(&self) -> Option<Position> {
        self.lock().batches.front().map(|held| held.from)
    }

    /// All rows held now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RecordBatch> {
        self.lock().batches.iter().map(|held| held.batch.clone()).collect()
    }

    /// Rows and bytes held now.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.rows, state.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_up(&mut self) -> usize {
        let Some(Held { batch, bytes, .. }) = self.batches.pop_front() else { return 0 };
        self.bytes -= bytes;
        self.rows -= batch.num_rows();
        self.small = self.small.min(self.batches.len());
        batch.num_rows()
    }

    fn add(&mut self, batch: RecordBatch, from: Position) {
        let bytes = batch.get_array_memory_size();
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.small = if batch.num_rows() < ROWS_JOINED { self.small + 1 } else { 0 };
        self.batches.push_back(Held { batch, bytes, from });
    }

    /// Joins the newest small batches, so that many small deliveries do not make slow queries.
    fn join(&mut self) {
        let tail = self.batches.split_off(self.batches.len() - self.small);
        self.small = 0;
        let parts: Vec<&RecordBatch> = tail.iter().map(|held| &held.batch).collect();
        let from = tail.front().map_or(0, |held| held.from);
        // Rows of one schema always join; if not, they stay as they are.
        match concat_batches(&events_schema(), parts) {
            Ok(joined) => {
                self.bytes -= tail.iter().map(|held| held.bytes).sum::<usize>();
                let bytes = joined.get_array_memory_size();
                self.bytes += bytes;
                self.small = usize::from(joined.num_rows() < ROWS_JOINED);
                self.batches.push_back(Held { batch: joined, bytes, from });
            }
            Err(_) => self.batches.extend(tail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Delivery};
    use crate::event::Rows;

    fn rows(count: usize) -> RecordBatch {
        let body = "{\"auditID\":\"a\"}\n".repeat(count);
        let mut rows = Rows::new();
        let delivery =
            Delivery { cluster: "c", source: "file", received_at: 0, body: body.as_bytes() };
        Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
        rows.finish()
    }

    #[test]
    fn the_oldest_rows_go_first_and_say_from_where_the_rest_is_needed() {
        let one = rows(1).get_array_memory_size();
        let hot = Hot::new(one * 3);
        assert_eq!(hot.oldest(), None);
        assert_eq!(hot.push(rows(0), 7), 0);
        assert_eq!(hot.oldest(), None, "what has no rows needs nothing");
        for position in 10..13 {
            assert_eq!(hot.push(rows(1), position), 0);
        }
        assert_eq!(hot.oldest(), Some(10));
        assert_eq!(hot.push(rows(1), 13), 1);
        assert_eq!((hot.oldest(), hot.size().0), (Some(11), 3));
        assert_eq!(hot.give_up(), 1);
        assert_eq!((hot.oldest(), hot.size()), (Some(12), (2, one * 2)));
    }

    #[test]
    fn small_batches_are_joined_and_keep_their_place() {
        let hot = Hot::new(1 << 30);
        for position in 0..200 {
            hot.push(rows(2), position);
        }
        assert!(hot.snapshot().len() < SMALL_MAX + 4);
        assert_eq!((hot.oldest(), hot.size().0), (Some(0), 400));
    }
}
