//! Findings on their way out: one outbox for each sink, one file for each kind of sink.

pub mod alertmanager;
pub mod backoff;
mod format;
pub mod head;
mod http;
pub mod jsonl;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod mail;
pub mod notice;
mod on_disk;
pub mod outbox;
pub mod outlet;
pub mod pager;
pub mod pagerduty;
pub mod router;
pub mod secret;
pub mod sink;
pub mod slack;
pub mod syslog;
mod tls;
pub mod webhook;
