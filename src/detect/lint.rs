//! What is wrong with a detection although it loads: conditions that never hold, words that audit
//! events never say, requests that count twice, needs that do not carry the query.
//!
//! Promise: the query engine's plan is what is judged, not the text, so that aliases, casts and
//! the order of conditions make no difference. A complaint says where, what, and what to do. An
//! error is wrong for every policy and every cluster; a warning is mostly wrong. Never: a lint
//! changes what a detection finds.

mod addresses;
mod needs;
mod never;
mod order;
mod prose;
mod reading;
mod stage;
#[cfg(test)]
mod tests;
mod verb;
mod word;

use std::fmt;
use std::sync::Arc;

use self::reading::Reading;
use super::detection::{Detection, Kind, LoadError};

/// How sure a complaint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Mostly wrong.
    Warning,
    /// Wrong.
    Error,
}

impl Level {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file.
    pub path: Arc<str>,
    /// One-based line of the file, where known.
    pub line: Option<u64>,
    /// The rule, a word such as `never-true`.
    pub rule: &'static str,
    /// How sure it is.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {} [{}]", self.level.as_str(), self.message, self.rule)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl From<LoadError> for Complaint {
    fn from(error: LoadError) -> Self {
        let LoadError { path, line, message, hint } = error;
        Self { path, line, rule: "load", level: Level::Error, message, hint }
    }
}

impl Complaint {
    /// A complaint about a detection's file.
    pub(crate) fn of(
        detection: &Detection,
        (rule, level): (&'static str, Level),
        line: Option<u64>,
        message: String,
        hint: &str,
    ) -> Self {
        let hint = Some(hint.to_owned());
        Self { path: Arc::clone(&detection.path), line, rule, level, message, hint }
    }
}

/// All that is wrong with a detection, errors first, then in the order of lines.
#[must_use]
pub fn lint(detection: &Detection) -> Vec<Complaint> {
    let mut complaints = prose::judge(detection);
    complaints.extend(word::judge_needs(detection));
    match Reading::of(detection) {
        // What the others know is of events.
        Ok(reading) if detection.kind == Kind::OverFindings => {
            complaints.extend(order::judge(&reading));
            complaints.extend(prose::judge_sentence(&reading));
        }
        Ok(reading) => {
            complaints.extend(word::judge(&reading));
            complaints.extend(never::judge(&reading));
            complaints.extend(stage::judge(&reading));
            complaints.extend(verb::judge(&reading));
            complaints.extend(needs::judge(&reading));
            complaints.extend(addresses::judge(&reading));
            complaints.extend(order::judge(&reading));
            complaints.extend(prose::judge_sentence(&reading));
        }
        Err(error) => complaints.push(error.into()),
    }
    let place = |complaint: &Complaint| {
        (std::cmp::Reverse(complaint.level), complaint.line, complaint.message.clone())
    };
    complaints.sort_by_key(place);
    complaints.dedup();
    complaints
}
