//! Which findings and incidents a route or a silence is about.

use serde::{Deserialize, Serialize};

use super::incident::actor::{about, actors};
use super::incident::record::Incident;
use super::record::FindingRecord;
use crate::detect::detection::Severity;

/// What must fit, each of them; a list without entries fits everything. Texts may have `*` for any
/// letters and `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// One of these severities.
    pub severity: Vec<Severity>,
    /// One of these clusters.
    pub cluster: Vec<String>,
    /// One of these namespaces.
    pub namespace: Vec<String>,
    /// One of these detections, by id.
    pub detection: Vec<String>,
    /// One of these hardening controls, by id.
    pub control: Vec<String>,
    /// One of these users.
    pub user: Vec<String>,
}

impl Matcher {
    /// Whether it fits everything.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it fits a finding.
    #[must_use]
    pub fn is_of_finding(&self, record: &FindingRecord) -> bool {
        let users =
            || actors(record).into_iter().filter_map(|actor| user(&actor).map(str::to_owned));
        (self.severity.is_empty() || self.severity.contains(&record.severity))
            && any(&self.cluster, [record.cluster.as_str()])
            && any(&self.namespace, about(record, "namespace"))
            && any(&self.detection, [record.detection.as_str()])
            && any(&self.control, record.controls.iter().map(String::as_str))
            && (self.user.is_empty() || users().any(|user| any(&self.user, [user.as_str()])))
    }

    /// Whether it fits anything in an incident.
    #[must_use]
    pub fn is_of_incident(&self, incident: &Incident) -> bool {
        let users = incident.actors.iter().filter_map(|actor| actor.strip_prefix("user "));
        (self.severity.is_empty() || self.severity.contains(&incident.severity))
            && any(&self.cluster, [incident.cluster.as_str()])
            && any(&self.namespace, incident.namespaces.iter().map(String::as_str))
            && any(&self.detection, incident.detections.iter().map(|of| of.detection.as_str()))
            && any(&self.control, incident.controls.iter().map(String::as_str))
            && any(&self.user, users)
    }

    /// Whether it fits all that is in an incident: what a silence does not know calls somebody.
    #[must_use]
    pub fn covers(&self, incident: &Incident) -> bool {
        let all = |globs: &[String], names: &mut dyn Iterator<Item = &str>| {
            globs.is_empty() || {
                let mut names = names.peekable();
                names.peek().is_some() && names.all(|name| any(globs, [name]))
            }
        };
        self.is_of_incident(incident)
            && all(&self.namespace, &mut incident.namespaces.iter().map(String::as_str))
            && all(&self.detection, &mut incident.detections.iter().map(|of| of.detection.as_str()))
            && all(
                &self.user,
                &mut incident.actors.iter().filter_map(|actor| actor.strip_prefix("user ")),
            )
    }
}

/// Whether one of these fits a finding; without any, everything does.
#[must_use]
pub fn fits_any(matchers: &[Matcher], record: &FindingRecord) -> bool {
    matchers.is_empty() || matchers.iter().any(|matcher| matcher.is_of_finding(record))
}

/// The name in `user/CLUSTER/NAME`.
fn user(actor: &str) -> Option<&str> {
    actor.strip_prefix("user/")?.split_once('/').map(|(_, name)| name)
}

fn any<'a>(globs: &[String], names: impl IntoIterator<Item = &'a str>) -> bool {
    globs.is_empty()
        || names
            .into_iter()
            .any(|name| globs.iter().any(|glob| fits(glob.as_bytes(), name.as_bytes())))
}

/// Whether a name is of the form of a glob. Takes at most as many steps as both are long,
/// multiplied.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut glob, mut name) = (glob, name);
    // Where to go on when the last star takes one letter more.
    let mut back: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), name.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                back = Some((rest, name));
                glob = rest;
                continue;
            }
            (Some((one, rest)), Some((letter, left))) if one == letter || *one == b'?' => {
                (glob, name) = (rest, left);
                continue;
            }
            _ => {}
        }
        let Some((rest, (_, left))) = back.and_then(|(rest, at)| Some((rest, at.split_first()?)))
        else {
            return false;
        };
        back = Some((rest, left));
        (glob, name) = (rest, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name, expected) in [
            ("prod-*", "prod-eu", true),
            ("prod-*", "dev-prod-eu", false),
            ("*", "", true),
            ("K8A-2??", "K8A-205", true),
            ("K8A-2??", "K8A-2051", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("", "x", false),
            ("a", "a", true),
        ] {
            assert_eq!(fits(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
        let (glob, name) = ("*a".repeat(40) + "b", "a".repeat(2_000));
        assert!(!fits(glob.as_bytes(), name.as_bytes()), "and in a moment");
    }
}
