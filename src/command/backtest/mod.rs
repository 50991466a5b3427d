//! `auditmill backtest`: what detections would have found in logs or in the history, and what
//! another version of them finds instead.
//!
//! Promise: the findings are those that a server makes of the same events, by the same engine, with
//! event time for its clock. Memory is bounded by what detections keep and by the findings, not by
//! the number of events.

mod input;
mod period;
mod print;
mod report;
mod run;
mod trial;
mod versions;

pub(super) use period::Period;
pub use run::run;
