//! Who is behind a finding: the keys by which findings are of one actor.
//!
//! A user name and a credential are the actor's, and whom somebody acted as is the same actor. An
//! address alone never is: many share it. The system's own users (`system:kube-scheduler`),
//! `system:anonymous` and requests without a user are nobody by name; what they do is joined by
//! address and area of detections, apart from everything that people and service accounts do.

use serde_json::{Map, Value as Json};

use crate::findings::record::FindingRecord;

/// The columns that tell as whom somebody acted.
const ACTED_AS: [&str; 2] = ["impersonated_user", "as_user"];

/// The keys of a finding's actor, ascending, each once: `user/CLUSTER/NAME`,
/// `credential/CLUSTER/ID`, else one `address/CLUSTER/ADDRESS/AREA` or `detection/CLUSTER/ID`.
#[must_use]
pub fn actors(record: &FindingRecord) -> Vec<String> {
    let cluster = record.cluster.as_str();
    let key = |kind: &str, name: &str| format!("{kind}/{cluster}/{name}");
    let users = std::iter::once("user_name").chain(ACTED_AS);
    let users = users.filter_map(|column| about(record, column)).filter(|user| is_somebody(user));
    let mut keys: Vec<String> = users.map(|user| key("user", user)).collect();
    keys.extend(about(record, "credential_id").map(|id| key("credential", id)));
    if keys.is_empty() {
        let area = area(&record.detection);
        keys.push(match about(record, "source_ip") {
            Some(address) => key("address", &format!("{address}/{area}")),
            None => key("detection", &record.detection),
        });
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What a finding's row, else its key, has in a column, if it has a text there.
#[must_use]
pub fn about<'a>(record: &'a FindingRecord, column: &str) -> Option<&'a str> {
    let text = |of: &'a Map<String, Json>| of.get(column).and_then(Json::as_str);
    text(&record.row).or_else(|| text(&record.key)).filter(|text| !text.is_empty())
}

/// Whether a user is an actor by name.
fn is_somebody(user: &str) -> bool {
    !user.starts_with("system:") || user.starts_with("system:serviceaccount:")
}

/// The area of a detection, as its id tells: `K8A-1` of `K8A-101`.
fn area(detection: &str) -> &str {
    let digits = detection.bytes().rev().take_while(u8::is_ascii_digit).count();
    let end = if digits > 2 { detection.len() - 2 } else { detection.len() - digits };
    detection.get(..end).unwrap_or(detection)
}
