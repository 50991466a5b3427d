//! Which rows can matter to which detection, for all detections at once.
//!
//! Conditions on one column of few values are worked out once for each value: a bit for each
//! detection says whether the value lets it through. The AND of a row's bits over the columns
//! leaves the detections that the row can matter to, few as a rule. Conditions that need more
//! ([`rest`]) are worked out for these rows only, once for all detections that share them.

pub(crate) mod clause;
pub(crate) mod column;
pub(crate) mod rest;
pub(crate) mod select;
