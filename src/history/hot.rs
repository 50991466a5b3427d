//! The newest rows, in memory: queryable as soon as they are decoded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::event::schema::events_schema;

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

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<(RecordBatch, usize)>,
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

    /// Adds rows; gives the number of old rows given up to make room.
    pub fn push(&self, batch: RecordBatch) -> usize {
        if batch.num_rows() == 0 {
            return 0;
        }
        let mut state = self.lock();
        state.add(batch);
        if state.small >= SMALL_MAX {
            state.join();
        }
        let mut given_up = 0;
        while state.bytes > self.bytes_max && state.batches.len() > 1 {
            let Some((batch, bytes)) = state.batches.pop_front() else { break };
            given_up += batch.num_rows();
            state.bytes -= bytes;
            state.rows -= batch.num_rows();
            state.small = state.small.min(state.batches.len());
        }
        given_up
    }

    /// All rows held now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RecordBatch> {
        self.lock().batches.iter().map(|(batch, _)| batch.clone()).collect()
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
    fn add(&mut self, batch: RecordBatch) {
        let bytes = batch.get_array_memory_size();
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.small = if batch.num_rows() < ROWS_JOINED { self.small + 1 } else { 0 };
        self.batches.push_back((batch, bytes));
    }

    /// Joins the newest small batches, so that many small deliveries do not make slow queries.
    fn join(&mut self) {
        let tail = self.batches.split_off(self.batches.len() - self.small);
        self.small = 0;
        let parts: Vec<&RecordBatch> = tail.iter().map(|(batch, _)| batch).collect();
        // Rows of one schema always join; if not, they stay as they are.
        match concat_batches(&events_schema(), parts) {
            Ok(joined) => {
                self.bytes -= tail.iter().map(|(_, bytes)| bytes).sum::<usize>();
                let bytes = joined.get_array_memory_size();
                self.bytes += bytes;
                self.small = usize::from(joined.num_rows() < ROWS_JOINED);
                self.batches.push_back((joined, bytes));
            }
            Err(_) => self.batches.extend(tail),
        }
    }
}
