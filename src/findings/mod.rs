//! What was found and what could not be read, as it is shown to people and machines.
//!
//! A finding is stored once per id; a later version replaces it whole. Every change has a number,
//! so that whoever follows ([`store::Store::follow`], [`store::Store::changes_after`]) misses none
//! and is never in the way.

pub mod copy;
pub mod database;
pub mod glance;
pub mod incident;
pub mod matcher;
mod owed;
pub mod paging;
pub mod quarantine;
pub mod questions;
pub mod reading;
pub mod record;
mod retention;
pub mod sinks;
pub mod step;
pub mod store;
pub mod tally;
pub mod triage;
