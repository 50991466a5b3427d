//! Audit policies: what the API server writes down of a request, and what that is worth to
//! detections and controls.
//!
//! [`document`] reads a policy and answers as the API server does; [`demand`] is what somebody
//! needs, [`coverage`] whether a policy gives it, [`smallest`] the least policy that does, and
//! [`forecast`] how much a policy records of events that were seen.
//!
//! Invariant: pure. Nothing here reads a file or a clock.

pub mod coverage;
pub mod demand;
pub mod document;
pub mod forecast;
pub mod smallest;
