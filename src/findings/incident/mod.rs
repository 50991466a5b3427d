//! Findings of one actor, joined in time: what a person is called for, findings being its evidence.
//!
//! Findings that share an actor ([`actor`]) and lie no further apart than a gap are one incident,
//! whatever detections they are of; so are those that a third one joins. Which findings belong
//! together does not depend on the order in which they came. An incident has the id of the finding
//! that opened it; when a late finding bridges two, the older stays and the other says
//! `merged_into`. Informational findings take no part, nor what is withdrawn or closed as a false
//! positive.

pub mod actor;
pub mod aggregate;
mod grouping;
pub mod member;
pub mod page;
pub mod reading;
pub mod record;
mod span;
pub mod tactic;

pub(in crate::findings) use grouping::regroup;

#[cfg(test)]
pub(in crate::findings) mod tests;
