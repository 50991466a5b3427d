//! What the user typed, each command a straight line of calls.
//!
//! A command returns the process's exit code: 0 done, 1 the answer is no, 2 usage or
//! configuration error.

pub mod alert;
pub mod backtest;
pub mod backup;
mod catalogue;
pub mod config;
mod costs;
pub mod coverage;
mod cutter;
pub mod detections;
pub mod evidence;
pub mod exceptions;
pub mod explain;
pub mod history;
pub mod incidents;
pub mod input;
mod known;
pub mod kubeconfig;
pub mod lint;
mod meter;
mod parts;
pub mod policy;
pub mod posture;
pub mod rbac;
pub mod report;
pub mod restore;
pub mod scan;
pub mod serve;
pub mod silence;
mod source;
pub mod sql;
mod table;
pub mod test;
pub mod token;
pub mod triage;
pub mod verify;
mod watch;
mod wires;

use std::fmt;

use crate::detect::detection::LoadError;

/// What a command came to, short of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0.
    Done,
    /// The answer is no: exit code 1.
    No,
}

/// Detections that could not be loaded, all of them, and what is wrong beside them.
#[derive(Debug)]
pub struct BadDetections(pub Vec<LoadError>);

impl fmt::Display for BadDetections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        // Overrides, exceptions and addresses lie in files of other kinds.
        let is_any = |end: &str| self.0.iter().any(|error| error.path.ends_with(end));
        if is_any(".yaml") {
            write!(f, "{count} mistake{plural} in detections, overrides or exceptions")?;
        } else if is_any(".txt") || is_any(".mmdb") {
            write!(f, "{count} mistake{plural} in what is known of addresses")?;
        } else {
            write!(f, "{count} detection{plural} cannot be loaded")?;
        }
        self.0.iter().try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for BadDetections {}
