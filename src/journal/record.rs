//! One delivery as the journal keeps it.

use bytes::Bytes;

/// Where a record is; the next record's is one more.
pub type Position = u64;

/// What is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The cluster whose events these are.
    pub cluster: String,
    /// The kind of input, such as `webhook`.
    pub source: &'static str,
    /// Arrival, microseconds since 1970, UTC.
    pub received_at: i64,
    /// The body as it came.
    pub body: Bytes,
}

/// What is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// What was appended there.
    pub record: Record,
}
