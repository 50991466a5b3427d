//! `auditmill test`: detections against their test events.
//!
//! Each case runs twice: in one piece from its first event to its last, and live, backwards, in
//! small deliveries that each come twice. Both must find the same and what the file says. The lint
//! judges each detection first, and its errors fail.

mod addresses;
mod case;
pub(super) mod files;
mod junit;
mod run;

pub use run::run;
