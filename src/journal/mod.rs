//! What was acknowledged is here: append is durable, read is in order, truncate is the only
//! forgetting.
//!
//! The journal stores opaque bytes and knows nothing of what is in them. A position names one
//! record for ever; positions grow by one.
//!
//! **For now it lives in memory** ([`memory`]): a restart forgets it. The contract is the one
//! that stays.

pub mod memory;
pub mod record;

pub use memory::{AppendError, Journal, Read};
pub use record::{Entry, Position, Record};
