//! What functions make while a batch of rows is worked on, counted as memory of queries.
//!
//! Operators count what they hold, functions do not, and an expression may have hundreds of them.
//! Each call says here what it is about to make, on the thread that works on the batch, and is
//! refused when that is more than queries have left. It is given back when the batch is handed on
//! (`guard.rs`), from where on it is a batch like any other. Never: an exact figure. What a thread
//! made counts until the batch is done, also what is dropped before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

/// Counts for all queries of one session.
#[derive(Debug)]
pub struct Meter {
    pool: Arc<dyn MemoryPool>,
    made: Mutex<HashMap<ThreadId, MemoryReservation>>,
}

impl Meter {
    /// Counts against this pool.
    pub(super) fn new(pool: Arc<dyn MemoryPool>) -> Self {
        Self { pool, made: Mutex::default() }
    }

    /// This thread is about to make so many bytes.
    ///
    /// # Errors
    /// When queries have no room for them.
    pub(super) fn take(&self, bytes: u64) -> Result<()> {
        let mut made = self.lock();
        let made = made.entry(thread::current().id()).or_insert_with(|| {
            MemoryConsumer::new("values that functions make").register(&self.pool)
        });
        made.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// What this thread made has been handed on, or is gone.
    pub fn give_back(&self) {
        self.lock().remove(&thread::current().id());
    }

    /// As [`Self::give_back`], for all threads: a query's last batch may have been on any. What
    /// another query's batch under way has made so far is then counted no more.
    pub fn give_back_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, MemoryReservation>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
