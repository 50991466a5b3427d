//! What a sink for machines is: it sends findings and says what came of it. It never retries, waits
//! or keeps anything; [`super::outbox`] does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::findings::record::FindingRecord;

/// What came of one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has it.
    Delivered,
    /// Not now: it may have it or not, and is to be sent again.
    Retry {
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
        /// What went wrong, in words that hold no secret.
        why: String,
    },
    /// The receiver will never take this finding, whatever happens to others.
    Refused {
        /// What it said.
        why: String,
    },
}

/// Something that takes findings. One call at a time is made to it, and a call may be dropped
/// before its end when the service stops.
pub trait Sink: Send {
    /// The most findings that it takes in one call.
    fn batch_max(&self) -> usize;

    /// Sends findings, each another one, in any order; gives one answer for each, in their order.
    /// It ends by itself, within a time limit of its own.
    fn deliver(
        &mut self,
        findings: &[Arc<FindingRecord>],
    ) -> impl Future<Output = Vec<Answer>> + Send;
}

/// How a receiver tells that it had a finding before: one id for each revision.
#[must_use]
pub fn delivery_id(record: &FindingRecord) -> String {
    format!("{}-{}", record.id, record.revision)
}
