//! Findings on their way out: one outbox for each sink, one file for each kind of sink.

pub mod backoff;
pub mod jsonl;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod outbox;
pub mod outlet;
pub mod pager;
pub mod router;
pub mod secret;
pub mod sink;
pub mod webhook;
