//! `auditmill policy check`: what an audit policy leaves detections and controls blind to, the
//! smallest policy that feeds them all, and how much either records.

mod check;
mod events;
mod print;

pub use check::check;
pub(super) use check::read;
