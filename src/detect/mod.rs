//! Events in, findings out: synchronous per batch, no network, no wall clock.
//!
//! A detection is one SQL file ([`detection`]); a [`catalog`] is a set of them. At load
//! [`plan`] takes each query apart with DataFusion and picks how it runs: a filter and a
//! projection over each event ([`per_event`]), or anything else re-run over the buffered windows
//! that changed ([`requery`]). [`engine`] drives them batch by batch and [`finding`] says what a
//! finding is and how its identity is made.
//!
//! **Invariant:** the same events in any order, in any batches, any number of times, end in the
//! same findings with the same ids. What arrives decides only when a finding is seen, never what
//! it says.

pub(crate) mod buffer;
pub mod catalog;
pub(crate) mod compared;
pub(crate) mod compiled;
pub(crate) mod condition;
pub mod detection;
pub mod engine;
pub mod evidence;
pub mod exception;
pub mod explained;
pub mod finding;
pub mod lint;
pub(crate) mod mistake;
pub(crate) mod monotone;
pub mod overrides;
pub(crate) mod per_event;
pub(crate) mod plan;
pub(crate) mod requery;
pub(crate) mod rows;
pub mod value;
pub mod watermark;
pub(crate) mod windowed;
