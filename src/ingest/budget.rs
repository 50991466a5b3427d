//! Bytes in flight: a delivery holds a permit from its first byte until it has been processed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits count KiB, because a semaphore counts to 2^32 in one request.
const UNIT: usize = 1024;

/// The budget; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub struct Permit(OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        Self { units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    /// A permit for this many more bytes, or `None` when the budget has no room for them.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> Option<Permit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.units).try_acquire_many_owned(units).ok().map(Permit)
    }
}

impl Permit {
    /// Adds another permit of the same budget to this one.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_had_again() {
        let budget = Budget::new(4096);
        let mut permit = budget.reserve(3000).unwrap();
        assert!(budget.reserve(2000).is_none());
        permit.merge(budget.reserve(1000).unwrap());
        assert!(budget.reserve(1).is_none());
        drop(permit);
        assert!(budget.reserve(4096).is_some());
    }
}
