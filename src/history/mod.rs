//! Rows that can be questioned.
//!
//! For now only [`hot`]: decoded rows in memory, the oldest given up beyond a bound.

pub mod hot;
