//! What may become of a finding or an incident, by its names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What became of a finding or an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked at it.
    #[default]
    Open,
    /// Somebody looks at it.
    Acknowledged,
    /// It is over.
    Closed,
}

/// Why something is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It was harmless.
    FalsePositive,
    /// It was dealt with.
    Resolved,
    /// It is a part of another incident.
    Merged,
    /// All its findings were withdrawn, or closed as false positives.
    Withdrawn,
}

/// What triage is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A finding.
    Finding,
    /// An incident.
    Incident,
}

impl State {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Open, Self::Acknowledged, Self::Closed];
        let found = all.into_iter().find(|state| state.as_str() == text);
        let wrong = || format!("`{text}` is not a state, use one of: open, acknowledged, closed");
        found.ok_or_else(wrong)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FalsePositive => "false-positive",
            Self::Resolved => "resolved",
            Self::Merged => "merged",
            Self::Withdrawn => "withdrawn",
        })
    }
}

impl FromStr for Reason {
    type Err = String;

    /// A reason that people may give.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "false-positive" => Ok(Self::FalsePositive),
            "resolved" => Ok(Self::Resolved),
            _ => Err(format!("`{text}` is not a reason, use one of: false-positive, resolved")),
        }
    }
}

impl Kind {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finding => "finding",
            Self::Incident => "incident",
        }
    }
}
