//! What one step of the pipeline leaves in the store, all of it or nothing.

use std::fmt;

use crate::detect::finding::Finding;
use crate::detect::outcome::Beyond;

/// The outcome of the records below a position that no earlier step covered.
///
/// Findings are absolute: a later version replaces an earlier one. The rest is added to what is
/// there, so a caller that reads records again counts only those at or above
/// [`super::store::Store::position`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Step<'a> {
    /// Position behind its last record.
    pub next: u64,
    /// Findings that are new or changed, in the order of their versions.
    pub findings: &'a [Finding],
    /// What was decided about events, deliveries, findings.
    pub ledger: &'a [LedgerEntry],
    /// Clusters that sent something.
    pub clusters: &'a [ClusterSeen],
    /// Hashes of deliveries and their arrival, microseconds since 1970, UTC.
    pub deliveries: &'a [(u128, i64)],
    /// All that history is still to be asked about; `None` leaves it as it is.
    pub owed: Option<&'a [Beyond]>,
}

/// So many of one kind within an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What happened.
    pub kind: LedgerKind,
    /// Whose it was; empty where it was no one cluster's.
    pub cluster: String,
    /// The detection, sink, source, exception or reason that it is about; empty when there is none.
    /// From a bounded set.
    pub item: String,
    /// When, microseconds since 1970, UTC; kept as its hour.
    pub at: i64,
    /// How many.
    pub count: u64,
}

/// What may happen other than the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerKind {
    /// Events that came after their watermark.
    Late,
    /// Times that history was asked about buckets of a detection that were forgotten.
    Beyond,
    /// Events that had come before.
    Duplicate,
    /// Whole deliveries that had come before.
    Repeated,
    /// Events of one audit id and stage with other content.
    Conflict,
    /// Findings that an analyst suppressed.
    Suppressed,
    /// Incidents that a silence kept from calling somebody; `item` is the silence's name.
    Silenced,
    /// What an exception hid; `item` is the exception's name.
    Exempted,
    /// The same by detection; `item` is the detection's id, a space and the exception's name.
    ExemptedFrom,
    /// Findings that a sink refused for good.
    Undeliverable,
    /// Pieces of deliveries that could not be read.
    Quarantined,
    /// Records around audit events that are none and not meant to be.
    PassedOver,
    /// Given up because there was no room for it any more.
    GivenUp,
    /// Batches that a detection failed to evaluate.
    Fault,
}

impl LedgerKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Late,
        Self::Beyond,
        Self::Duplicate,
        Self::Repeated,
        Self::Conflict,
        Self::Suppressed,
        Self::Silenced,
        Self::Exempted,
        Self::ExemptedFrom,
        Self::Undeliverable,
        Self::Quarantined,
        Self::PassedOver,
        Self::GivenUp,
        Self::Fault,
    ];

    /// Its name in the table `ledger`; never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Beyond => "beyond",
            Self::Duplicate => "duplicate",
            Self::Repeated => "repeated",
            Self::Conflict => "conflict",
            Self::Suppressed => "suppressed",
            Self::Silenced => "silenced",
            Self::Exempted => "exempted",
            Self::ExemptedFrom => "exempted_from",
            Self::Undeliverable => "undeliverable",
            Self::Quarantined => "quarantined",
            Self::PassedOver => "passed_over",
            Self::GivenUp => "given_up",
            Self::Fault => "fault",
        }
    }
}

impl fmt::Display for LedgerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came from a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSeen {
    /// The cluster.
    pub cluster: String,
    /// The latest event time, microseconds since 1970, UTC.
    pub last_event: i64,
    /// The latest arrival, microseconds since 1970, UTC.
    pub last_arrival: i64,
    /// How many events that had not been seen before; added up over steps.
    pub events: u64,
    /// How many events that had; added up over steps.
    pub duplicates: u64,
}

const HOUR_MICROS: i64 = 3_600_000_000;

/// The start of the hour of a time, both in microseconds.
pub(super) fn hour(micros: i64) -> i64 {
    micros.div_euclid(HOUR_MICROS).saturating_mul(HOUR_MICROS)
}
