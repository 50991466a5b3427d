//! What could not be read: kept whole, with the reason; bounded, the oldest given up first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decode::Quarantined;

/// The newest quarantined pieces.
#[derive(Debug)]
pub struct Quarantine {
    bytes_max: usize,
    state: Mutex<(VecDeque<Quarantined>, usize)>,
}

impl Quarantine {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Keeps a piece.
    pub fn push(&self, piece: Quarantined) {
        let mut state = self.lock();
        let (pieces, bytes) = &mut *state;
        *bytes += piece.bytes.len();
        pieces.push_back(piece);
        while *bytes > self.bytes_max && pieces.len() > 1 {
            *bytes -= pieces.pop_front().map_or(0, |piece| piece.bytes.len());
        }
    }

    /// All pieces held now, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Quarantined> {
        self.lock().0.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<Quarantined>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
