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

/// A batch, its size, and the journal position below which nothing is needed once it is gone.
#[derive(Debug)]
struct Held {
    batch: RecordBatch,
    bytes: usize,
    below: Position,
}

/// Old rows that were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// How many.
    pub rows: usize,
    /// No row of a record below this position is held any more.
    pub below: Position,
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

    /// Adds rows of journal records below `below`; says what was given up to make room.
    pub fn push(&self, batch: RecordBatch, below: Position) -> GivenUp {
        let mut given_up = GivenUp::default();
        if batch.num_rows() == 0 {
            return given_up;
        }
        let mut state = self.lock();
        state.add(batch, below);
        if state.small >= SMALL_MAX {
            state.join();
        }
        while state.bytes > self.bytes_max && state.batches.len() > 1 {
            let Some(oldest) = state.batches.pop_front() else { break };
            given_up.rows += oldest.batch.num_rows();
            given_up.below = oldest.below;
            state.bytes -= oldest.bytes;
            state.rows -= oldest.batch.num_rows();
            state.small = state.small.min(state.batches.len());
        }
        given_up
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
    fn add(&mut self, batch: RecordBatch, below: Position) {
        let bytes = batch.get_array_memory_size();
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.small = if batch.num_rows() < ROWS_JOINED { self.small + 1 } else { 0 };
        self.batches.push_back(Held { batch, bytes, below });
    }

    /// Joins the newest small batches, so that many small deliveries do not make slow queries.
    fn join(&mut self) {
        let tail = self.batches.split_off(self.batches.len() - self.small);
        self.small = 0;
        let parts: Vec<&RecordBatch> = tail.iter().map(|held| &held.batch).collect();
        let below = tail.back().map_or(0, |held| held.below);
        // Rows of one schema always join; if not, they stay as they are.
        match concat_batches(&events_schema(), parts) {
            Ok(joined) => {
                self.bytes -= tail.iter().map(|held| held.bytes).sum::<usize>();
                let bytes = joined.get_array_memory_size();
                self.bytes += bytes;
                self.small = usize::from(joined.num_rows() < ROWS_JOINED);
                self.batches.push_back(Held { batch: joined, bytes, below });
            }
            Err(_) => self.batches.extend(tail),
        }
    }
}
