//! What was acknowledged is here: append is durable, read is in order, truncate is the only
//! forgetting.
//!
//! The journal stores opaque bytes and knows nothing of what is in them. A position names one
//! record for ever; positions grow by one. Records lie in segments ([`segment`]): files that are
//! written to their full size before they are used and used again when they are done with, because
//! syncing an overwrite is ten times faster than syncing a file that grows. One thread
//! ([`writer`]) gathers what waits, writes it, syncs once and answers everyone.
//!
//! **Invariants:** a position is given out only after a sync that covered it. A failed sync is
//! final: the journal takes nothing more, and a restart finds out what the disk really has.
//! After a crash the records that are found are those that were written first, without a hole.

pub mod copy;
pub mod disk;
pub mod error;
pub mod local;
pub mod record;
mod recovery;
pub mod segment;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{AppendError, OpenError};
pub use local::{Hold, Journal, JournalSettings, Read};
pub use record::{Entry, Position, Record};
pub use writer::Writer;
