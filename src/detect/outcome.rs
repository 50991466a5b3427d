//! What comes of a call of the engine.

use std::collections::BTreeMap;

use super::finding::Finding;

/// A detection could not evaluate a batch; its findings may miss these events.
#[derive(Debug)]
pub struct Fault {
    /// Id of the detection.
    pub detection: String,
    /// What went wrong.
    pub message: String,
}

/// What came of a call.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Findings that are new or changed, in a fixed order.
    pub findings: Vec<Finding>,
    /// Detections that failed on this input.
    pub faults: Vec<Fault>,
    /// Events that came after their windows had closed (and re-opened them), by cluster.
    pub late: BTreeMap<String, u64>,
    /// What is to be asked of history: the state does not reach that far back.
    pub beyond: Vec<Beyond>,
    /// Events that an exception hid from a detection.
    pub exempted: BTreeMap<Exempted, u64>,
}

/// An exception at work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exempted {
    /// The exception's name.
    pub exception: String,
    /// The cluster.
    pub cluster: String,
    /// Id of the detection.
    pub detection: String,
}

/// Buckets of a detection that are forgotten, and that an event came for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beyond {
    /// The cluster.
    pub cluster: String,
    /// Id of the detection.
    pub detection: String,
    /// Start of the first bucket, microseconds of event time.
    pub from: i64,
    /// End of the last bucket.
    pub to: i64,
    /// When the first event that came for them arrived, microseconds.
    pub arrived: i64,
}

/// What a detection has cost and keeps, over all clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows that its conditions let through.
    pub rows: u64,
    /// Time spent on these rows and its windows; conditions are worked out for all at once.
    pub nanos: u64,
    /// Bytes of its state.
    pub bytes: usize,
    /// Keys of its state.
    pub keys: usize,
}
