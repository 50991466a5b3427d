//! The journal in memory: the contract without the disk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::record::{Entry, Position, Record};

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// We are stopping; another start will take it.
    #[error("the journal is closed")]
    Closed,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Records in order, at least one.
    Entries(Vec<Entry>),
    /// Nothing came within the time given.
    Nothing,
    /// Closed, and all has been read.
    Closed,
}

/// Records by position, for one writer side and one reader side.
#[derive(Debug, Default)]
pub struct Journal {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    next: Position,
    closed: bool,
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record and gives its position once it is as durable as this journal is. The
    /// append itself completes even if the caller goes away while waiting.
    ///
    /// # Errors
    /// [`AppendError::Closed`] after [`Self::close`].
    #[expect(clippy::unused_async, reason = "waits for the disk once there is one")]
    pub async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        let position = state.next;
        state.next += 1;
        state.entries.push_back(Entry { position, record });
        drop(state);
        self.grown.notify_all();
        Ok(position)
    }

    /// Up to about `bytes_max` of records from position `from` on (at least one, whatever its
    /// size), waiting for at most `wait` while there is none.
    pub fn read(&self, from: Position, bytes_max: usize, wait: Duration) -> Read {
        let state = self.lock();
        let (state, _) = self
            .grown
            .wait_timeout_while(state, wait, |state| state.next <= from && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.next <= from {
            return if state.closed { Read::Closed } else { Read::Nothing };
        }
        let mut bytes = 0;
        let entries = state.entries.iter().skip_while(|entry| entry.position < from);
        let entries = entries.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.record.body.len().max(1);
            first || bytes <= bytes_max
        });
        Read::Entries(entries.cloned().collect())
    }

    /// Forgets all records below a position.
    pub fn truncate(&self, below: Position) {
        let mut state = self.lock();
        while state.entries.front().is_some_and(|entry| entry.position < below) {
            state.entries.pop_front();
        }
    }

    /// The position that the next record will have.
    pub fn position(&self) -> Position {
        self.lock().next
    }

    /// Takes no more records; readers get what is left and then [`Read::Closed`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.grown.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &'static str) -> Record {
        Record { cluster: "c".into(), source: "webhook", received_at: 0, body: body.into() }
    }

    #[tokio::test]
    async fn reads_in_order_from_a_position_and_forgets_below_one() {
        let journal = Journal::new();
        for body in ["a", "bb", "ccc"] {
            journal.append(record(body)).await.unwrap();
        }
        assert_eq!(positions(&journal.read(0, 3, Duration::ZERO)), [0, 1]);
        assert_eq!(positions(&journal.read(2, 1, Duration::ZERO)), [2]);
        assert_eq!(journal.read(3, 1, Duration::ZERO), Read::Nothing);
        journal.truncate(2);
        assert_eq!(positions(&journal.read(0, 99, Duration::ZERO)), [2]);
        journal.close();
        assert_eq!(journal.append(record("d")).await, Err(AppendError::Closed));
        assert_eq!(positions(&journal.read(2, 99, Duration::ZERO)), [2]);
        assert_eq!(journal.read(3, 99, Duration::from_mins(1)), Read::Closed);
        assert_eq!(journal.position(), 3);
    }

    fn positions(read: &Read) -> Vec<Position> {
        match read {
            Read::Entries(entries) => entries.iter().map(|entry| entry.position).collect(),
            other => panic!("{other:?}"),
        }
    }
}
