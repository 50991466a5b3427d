//! Who sent a body, as far as the way in knows, and what such a sender can show.

use std::fmt;
use std::str::FromStr;

use super::shape::Wrapping;

/// What wraps the events of a body. A hint that narrows what a body is taken for; whatever it
/// says, plain events and lists of them are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Told by shape. The default.
    #[default]
    Auto,
    /// `lines`, `eventlist`: events and lists of them, as the API server writes them, and no
    /// cloud's wrapping.
    Lines,
    /// `eks`: `CloudWatch` Logs subscription records, also through Firehose and Lambda.
    Eks,
    /// `gke`: Cloud Logging entries.
    Gke,
    /// `aks`: Azure diagnostic records.
    Aks,
    /// `openshift`: events with members of the forwarder beside theirs; lines that start with a
    /// node's name.
    OpenShift,
}

/// The name is none of a [`Format`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{0}`; known are auto, lines, eventlist, eks, gke, aks, openshift")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Ok(match name {
            "auto" => Self::Auto,
            "lines" | "eventlist" => Self::Lines,
            "eks" => Self::Eks,
            "gke" => Self::Gke,
            "aks" => Self::Aks,
            "openshift" => Self::OpenShift,
            _ => return Err(UnknownFormat(name.to_owned())),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Lines => "lines",
            Self::Eks => "eks",
            Self::Gke => "gke",
            Self::Aks => "aks",
            Self::OpenShift => "openshift",
        })
    }
}

impl Format {
    pub(super) fn admits(self, wrapping: Wrapping) -> bool {
        use Wrapping::{AwsLogs, LogEntry, LogEvents, Packed, Record, Records};
        match self {
            Self::Auto => true,
            Self::Lines | Self::OpenShift => false,
            Self::Eks => matches!(wrapping, LogEvents | AwsLogs | Packed | Records),
            Self::Gke => wrapping == LogEntry,
            Self::Aks => matches!(wrapping, Records | Record),
        }
    }

    /// Whether a line may start with the name of the node that wrote it.
    pub(super) fn has_node_names(self) -> bool {
        matches!(self, Self::Auto | Self::OpenShift)
    }
}

/// What the rows of a source can show at all. Where a flag is false the column is NULL on every
/// row, and a condition on it cannot be evaluated: that is not the same as "did not happen".
#[expect(clippy::struct_excessive_bools, reason = "each is one thing, shown or not")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fidelity {
    /// `user_groups`, and with them impersonation.
    pub groups: bool,
    /// `request_object` and `response_object`, where the cluster's audit policy logs them.
    pub bodies: bool,
    /// `stage`; without it each row is a finished request.
    pub stages: bool,
    /// `request_uri` with its query, where the command of an exec is.
    pub query: bool,
}

/// What rows with this value of the column `source` can show.
///
/// GKE's Cloud Logging entries carry no groups, stages or request URIs. Everything else is the API
/// server's own event; what a cloud's fixed audit policy leaves out is not known here.
#[must_use]
pub fn fidelity(source: &str) -> Fidelity {
    let whole = source != "gke";
    Fidelity { groups: whole, bodies: true, stages: whole, query: whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_back() {
        for name in ["auto", "lines", "eks", "gke", "aks", "openshift"] {
            assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
        }
        assert_eq!("eventlist".parse(), Ok(Format::Lines));
        assert!("EKS".parse::<Format>().unwrap_err().to_string().contains("`EKS`"));
    }

    #[test]
    fn only_gke_hides_groups() {
        assert!(!fidelity("gke").groups && !fidelity("gke").query && fidelity("gke").bodies);
        assert!(fidelity("eks").groups && fidelity("webhook").stages && fidelity("aks").query);
    }
}
