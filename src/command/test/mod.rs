//! `auditmill test`: detections against their test events.
//!
//! Each case runs twice: in one piece from its first event to its last, and live, backwards, in
//! small deliveries that each come twice. Both must find the same and what the file says. Before its
//! cases, a detection is judged by the lint: its errors fail.

mod case;
pub(super) mod files;
mod run;

pub use run::run;
