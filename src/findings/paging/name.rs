//! What groups of incidents, and the pages of them, are known by.

use super::{GroupBy, Plan};
use crate::detect::finding::safe_line;
use crate::findings::incident::record::Incident;

/// Letters of a name: receivers have limits.
const CHARS_MAX: usize = 200;

/// The group of an incident.
pub(super) fn group_name(plan: &Plan, incident: &Incident) -> String {
    if plan.group_by.is_empty() {
        return format!("incident {}", incident.id);
    }
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let parts = plan.group_by.iter().map(|by| match by {
        GroupBy::Cluster => incident.cluster.clone(),
        GroupBy::Namespace => first(&incident.namespaces),
        GroupBy::Detection => {
            incident.detections.first().map(|of| of.detection.clone()).unwrap_or_default()
        }
        GroupBy::Severity => incident.severity.to_string(),
        GroupBy::Actor => first(&incident.actors),
    });
    let name = parts.collect::<Vec<_>>().join("/");
    format!("group {}", safe_line(&name, CHARS_MAX))
}

/// The id by which receivers know a page: that of its incident if it has but one.
pub(super) fn page_id(plan: &Plan, name: &str) -> String {
    match name.strip_prefix("incident ") {
        Some(incident) => incident.to_owned(),
        None => safe_line(&format!("{}: {name}", plan.name), CHARS_MAX),
    }
}
