//! What detections must know of the past beyond the rows that are read again at a start.

use datafusion::logical_expr::Expr;

use super::value::Value;

/// What a detection of what is new must know of the past: which keys were seen when, of the rows
/// for which all conditions are true.
#[derive(Clone, Debug)]
pub struct LongMemory {
    /// Id of the detection.
    pub detection: String,
    /// Over columns of `events`, without a qualifier.
    pub conditions: Vec<Expr>,
    /// What makes the key, besides the cluster.
    pub key: Vec<Expr>,
    /// How far back, microseconds of event time.
    pub lookback: i64,
}

/// When a key was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its values.
    pub key: Vec<Value>,
    /// The first time, microseconds of event time.
    pub first: i64,
    /// The last time.
    pub last: i64,
}
