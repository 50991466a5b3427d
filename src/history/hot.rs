//! The newest rows, in memory, and which files hold the rest: queryable as soon as decoded.
//!
//! Rows leave memory in the same step in which the files that hold them become visible, so that a
//! question sees each row once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::error::HistoryError;
use super::file::DataFile;
use crate::event::schema::events_schema;
use crate::journal::Position;

/// Small batches are joined until they have this many rows.
const ROWS_JOINED: usize = 8_192;
/// So many small batches wait before they are joined.
const SMALL_MAX: usize = 64;

/// Rows in the order in which they were processed, and the files of all earlier ones.
#[derive(Debug)]
pub struct Hot {
    bytes_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// All that is kept, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Newer rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// Files of older ones.
    pub(crate) files: Arc<[DataFile]>,
}

/// Rows to be written: all of the journal's records below a position that are not in files.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) position: Position,
}

/// When rows are to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// So many bytes are held.
    pub(crate) bytes: usize,
    /// The oldest row is held for so long.
    pub(crate) age: Duration,
}

/// What [`Hot::wait_until`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Rows are to be written.
    Due,
    /// Nothing, but time has passed.
    Nothing,
    /// No more rows will come.
    Closed,
}

#[derive(Debug)]
struct Held {
    batch: RecordBatch,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Held>,
    /// How many of the oldest batches are of records that are processed to their end.
    complete: usize,
    /// All records below are processed.
    next: Position,
    /// How many of the oldest batches are being written.
    cut: usize,
    /// Up to where; stays until it is known that they were written.
    cut_position: Option<Position>,
    /// When the oldest batch that is not being written came.
    since: Option<Instant>,
    /// The last cut was not written.
    overdue: bool,
    bytes: usize,
    rows: usize,
    files: Arc<[DataFile]>,
    /// The files are known.
    opened: bool,
    closed: bool,
}

impl Hot {
    /// Room for so many bytes of rows.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds rows.
    pub fn push(&self, batch: RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        let mut state = self.lock();
        let bytes = batch.get_array_memory_size();
        state.rows += batch.num_rows();
        state.bytes += bytes;
        state.since.get_or_insert_with(Instant::now);
        state.batches.push_back(Held { batch, bytes });
    }

    /// All rows of the records below `next` have been added.
    pub fn complete(&self, next: Position) {
        let mut state = self.lock();
        state.join();
        state.complete = state.batches.len();
        state.next = next;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until there is room for more rows, or for at most `wait`; true when there is room.
    pub fn wait_for_room(&self, wait: Duration) -> bool {
        let full = |state: &mut State| state.bytes > self.bytes_max;
        let waited = self.changed.wait_timeout_while(self.lock(), wait, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Rows and bytes held now.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.rows, state.bytes)
    }

    /// No more rows will be added.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// All rows held now, and the files of the others.
    pub(crate) fn kept(&self) -> Kept {
        let state = self.lock();
        let batches = state.batches.iter().map(|held| held.batch.clone()).collect();
        Kept { batches, files: Arc::clone(&state.files) }
    }

    /// The same, for questions.
    ///
    /// # Errors
    /// While it is not known which files there are.
    pub(crate) fn asked(&self) -> Result<Kept, HistoryError> {
        if self.is_opened() { Ok(self.kept()) } else { Err(HistoryError::NotOpen) }
    }

    /// The files that hold rows.
    pub(crate) fn files(&self) -> Arc<[DataFile]> {
        Arc::clone(&self.lock().files)
    }

    /// Waits until rows are to be written, or no more will come, or for at most `wait`.
    pub(crate) fn wait_until(&self, due: Due, wait: Duration) -> Waited {
        let is_due = |state: &State| {
            state.complete > 0
                && (state.overdue
                    || state.bytes >= due.bytes.min(self.bytes_max)
                    || state.since.is_some_and(|since| since.elapsed() >= due.age))
        };
        let idle = |state: &mut State| !state.closed && !is_due(state);
        let waited = self.changed.wait_timeout_while(self.lock(), wait, idle);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            Waited::Closed
        } else if is_due(&state) {
            Waited::Due
        } else {
            Waited::Nothing
        }
    }

    /// The rows to be written now; they stay until [`Self::replace`], and are the same ones until
    /// then. `None` when all of what was processed is in files.
    pub(crate) fn cut(&self, written: Position) -> Option<Cut> {
        let mut state = self.lock();
        if state.next <= written {
            return None;
        }
        state.overdue = false;
        if state.cut_position.is_none() {
            state.cut = state.complete;
            state.cut_position = Some(state.next);
            let is_all = state.cut == state.batches.len();
            state.since = if is_all { None } else { Some(Instant::now()) };
        }
        let batches = state.batches.iter().take(state.cut).map(|held| held.batch.clone());
        let position = state.cut_position.unwrap_or(state.next);
        Some(Cut { batches: batches.collect(), position })
    }

    /// Lets the rows of the last cut go: these files hold them, and all others that do.
    pub(crate) fn replace(&self, files: Vec<DataFile>) {
        let mut state = self.lock();
        for _ in 0..state.cut {
            if let Some(Held { batch, bytes }) = state.batches.pop_front() {
                state.bytes -= bytes;
                state.rows -= batch.num_rows();
            }
        }
        state.complete -= state.cut;
        state.cut = 0;
        state.cut_position = None;
        state.files = Arc::from(files);
        drop(state);
        self.changed.notify_all();
    }

    /// The rows that are not in memory are in these files.
    pub(crate) fn show(&self, files: Vec<DataFile>) {
        let mut state = self.lock();
        state.opened = true;
        state.files = Arc::from(files);
    }

    /// It is not known that the last cut was written: the same rows are due again.
    pub(crate) fn keep(&self) {
        self.lock().overdue = true;
    }

    /// Whether it is known which files there are.
    pub(crate) fn is_opened(&self) -> bool {
        self.lock().opened
    }

    /// Waits until no more rows will come, or for at most `wait`.
    pub(crate) fn wait_until_closed(&self, wait: Duration) {
        let open = |state: &mut State| !state.closed;
        drop(self.changed.wait_timeout_while(self.lock(), wait, open));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Joins the newest small batches, so that many small deliveries do not make slow questions;
    /// not those that are being written.
    fn join(&mut self) {
        let is_small = |held: &&Held| held.batch.num_rows() < ROWS_JOINED;
        let small = self.batches.iter().skip(self.cut).rev().take_while(is_small).count();
        if small < SMALL_MAX {
            return;
        }
        let tail = self.batches.split_off(self.batches.len() - small);
        let parts: Vec<&RecordBatch> = tail.iter().map(|held| &held.batch).collect();
        // Rows of one schema always join; if not, they stay as they are.
        match concat_batches(&events_schema(), parts) {
            Ok(batch) => {
                self.bytes -= tail.iter().map(|held| held.bytes).sum::<usize>();
                let bytes = batch.get_array_memory_size();
                self.bytes += bytes;
                self.batches.push_back(Held { batch, bytes });
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

    const NO_WAIT: Duration = Duration::ZERO;

    fn rows(count: usize) -> RecordBatch {
        let body = "{\"auditID\":\"a\"}\n".repeat(count);
        let mut rows = Rows::new();
        let delivery =
            Delivery { cluster: "c", source: "file", received_at: 0, body: body.as_bytes() };
        Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
        rows.finish()
    }

    #[test]
    fn only_whole_records_are_cut_and_they_stay_until_files_hold_them() {
        let hot = Hot::new(1 << 30);
        assert!(hot.cut(0).is_none());
        hot.push(rows(2));
        hot.complete(7);
        hot.push(rows(1));
        let cut = hot.cut(0).unwrap();
        assert_eq!((cut.position, cut.batches.len()), (7, 1));
        hot.push(rows(1));
        hot.complete(9);
        assert_eq!(hot.kept().batches.len(), 3, "nothing is gone before it is written");
        hot.replace(Vec::new());
        assert_eq!(hot.size().0, 2);
        hot.keep();
        let cut = hot.cut(7).unwrap();
        assert_eq!((cut.position, cut.batches.len()), (9, 2));
        hot.replace(Vec::new());
        assert_eq!(hot.size(), (0, 0));
        assert!(hot.cut(9).is_none());
    }

    #[test]
    fn what_may_have_been_written_is_cut_again_as_it_was() {
        let hot = Hot::new(1 << 30);
        hot.push(rows(2));
        hot.complete(7);
        hot.cut(0).unwrap();
        hot.keep();
        hot.push(rows(3));
        hot.complete(9);
        hot.show(Vec::new());
        let by_age = Due { bytes: usize::MAX, age: Duration::from_hours(1) };
        assert_eq!(hot.wait_until(by_age, NO_WAIT), Waited::Due);
        let cut = hot.cut(0).unwrap();
        assert_eq!((cut.position, cut.batches.len()), (7, 1));
        hot.replace(Vec::new());
        assert_eq!(hot.size().0, 3);
        let cut = hot.cut(7).unwrap();
        assert_eq!((cut.position, cut.batches.len()), (9, 1));
    }

    #[test]
    fn rows_are_due_by_size_and_by_age_and_there_is_room_again_afterwards() {
        let one = rows(1).get_array_memory_size();
        let hot = Hot::new(one * 2);
        let by_size = Due { bytes: one * 2, age: Duration::from_hours(1) };
        hot.push(rows(1));
        hot.complete(1);
        assert_eq!(hot.wait_until(by_size, NO_WAIT), Waited::Nothing);
        assert_eq!(hot.wait_until(Due { age: NO_WAIT, ..by_size }, NO_WAIT), Waited::Due);
        hot.push(rows(1));
        hot.push(rows(1));
        assert_eq!(hot.wait_until(by_size, NO_WAIT), Waited::Due);
        assert!(!hot.wait_for_room(NO_WAIT));
        hot.complete(2);
        hot.cut(0).unwrap();
        hot.replace(Vec::new());
        assert!(hot.wait_for_room(NO_WAIT));
        hot.close();
        assert_eq!(hot.wait_until(by_size, NO_WAIT), Waited::Closed);
    }

    #[test]
    fn small_batches_are_joined_but_not_while_they_are_written() {
        let hot = Hot::new(1 << 30);
        for position in 0..200 {
            hot.push(rows(2));
            hot.complete(position);
        }
        assert!(hot.kept().batches.len() < SMALL_MAX + 4);
        let cut = hot.cut(0).unwrap().batches.len();
        for position in 200..400 {
            hot.push(rows(2));
            hot.complete(position);
        }
        hot.replace(Vec::new());
        assert!(cut > 0 && hot.kept().batches.len() < SMALL_MAX + 4);
        assert_eq!(hot.size().0, 400);
    }
}
