//! The one door: every way in calls [`accept::Door::accept`], and what it returns a receipt for
//! is in the journal.
//!
//! What waits to be processed is bounded in bytes ([`budget`]): above the budget the answer is
//! "not now", so that memory stays flat whatever arrives.

pub mod accept;
pub mod budget;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod tail;
