//! Events in, findings out: synchronous per batch, no network, no wall clock.
//!
//! A detection is one SQL file ([`detection`]); a [`catalog`] is a set of them. At load
//! [`plan`] takes each query apart with DataFusion: conditions, which the [`index`] finds rows for,
//! for all detections at once; and what is made of the rows. That is looked at event by event
//! ([`per_event`]), added up by key and window as events come ([`incremental`]), or, of queries
//! that are more than filter, group and HAVING, kept and asked again ([`requery`]). Some ask for
//! what is new ([`first_seen`]), for what is missing ([`absent`]), or about what others found
//! ([`chain`]). [`engine`]
//! drives them batch by batch and [`finding`] says what a finding is and how its identity is made.
//!
//! **Invariant:** the same events in any order, in any batches, any number of times, end in the
//! same findings with the same ids. What arrives decides only when a finding is seen, never what
//! it says.

pub(crate) mod absent;
pub mod addresses;
pub mod again;
pub(crate) mod aged;
pub(crate) mod asked;
pub(crate) mod budget;
mod buffer;
pub mod catalog;
pub(crate) mod chain;
pub(crate) mod cluster;
pub(crate) mod compared;
pub(crate) mod compiled;
pub(crate) mod condition;
pub mod detection;
pub mod engine;
pub mod evidence;
pub mod exception;
pub(crate) mod execution;
pub(crate) mod exemption;
pub mod explain;
pub mod explained;
pub mod finding;
pub(crate) mod first_seen;
mod held;
pub mod in_use;
pub(crate) mod incremental;
pub(crate) mod index;
pub(crate) mod intake;
pub mod lint;
mod list;
pub mod measured;
pub(crate) mod mistake;
pub(crate) mod monotone;
pub(crate) mod noted;
pub mod outcome;
pub mod overrides;
pub(crate) mod per_event;
pub(crate) mod plan;
pub(crate) mod requery;
pub mod row;
pub(crate) mod rows;
pub(crate) mod running;
pub(crate) mod standing;
pub(crate) mod unwound;
pub mod value;
pub mod watermark;
pub(crate) mod windowed;
