//! `exceptions.yaml` in the operator's folder: what is known to be harmless, who says so, and until
//! when.
//!
//! ```yaml
//! - name: backup reads secrets            # optional; else made of what is exempt
//!   detection: [K8A-203, K8A-205]         # or one id, or "*"
//!   condition: user_name = 'system:serviceaccount:velero:velero' AND user_agent LIKE 'velero/%'
//!   owner: platform@acme.example
//!   reason: the backup reads everything, by design
//!   expires: 2027-06-30                   # the last day, UTC; or a time
//!   clusters: [prod-eu]                   # optional; else all
//! ```
//!
//! Promise: every exception has an owner, a reason and an end, and a condition that plans over the
//! columns of `events`, is deterministic, and is not true of every event. One that has expired is
//! kept, so that it can be shown. Never: the clock is read here.

mod condition;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, col, lit};
use serde::Deserialize;
use serde_saphyr::Spanned;
use sha2::{Digest as _, Sha256};

pub(super) use self::condition::check;
pub use self::condition::planned;
use super::detection::{LoadError, yaml_message};
use super::mistake::Told;
use super::overrides::is_blank;
use crate::event::ClusterName;
use crate::event::time::parse_rfc3339;

/// Its name in the operator's folder.
pub const FILE: &str = "exceptions.yaml";

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Unique in its file: as given, or `exempt-` and a hash of what is exempt. The `item` of its
    /// rows in the ledger.
    pub name: String,
    /// The list that it is an entry of; none for one of the operator's own.
    pub list: Option<String>,
    /// Which detections it is of.
    pub detections: Detections,
    /// SQL over the columns of `events`: the events that are exempt.
    pub condition: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is harmless.
    pub reason: String,
    /// From when on it no longer holds, microseconds since 1970, UTC.
    pub expires: i64,
    /// The clusters it holds for; none for all.
    pub clusters: BTreeSet<String>,
    /// Its file.
    pub path: Arc<str>,
    /// One-based line of the file on which it begins.
    pub line: u64,
}

/// The detections of an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detections {
    /// Every detection: `*`.
    All,
    /// Those of these ids.
    Ids(BTreeSet<String>),
}

impl Detections {
    /// Whether the detection of this id is one of them.
    #[must_use]
    pub fn names(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(id),
        }
    }

    /// The ids that are named, in order; none for all.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let ids = match self {
            Self::All => None,
            Self::Ids(ids) => Some(ids),
        };
        ids.into_iter().flatten().map(String::as_str)
    }
}

impl Exception {
    /// Whether it no longer holds at this time, microseconds since 1970, UTC.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        now >= self.expires
    }

    /// Its condition, [`planned`], with the clusters and the time that it holds for: true of the
    /// events that it hides.
    #[must_use]
    pub(crate) fn whole(&self, condition: Expr) -> Expr {
        let end = ScalarValue::TimestampMicrosecond(Some(self.expires), Some("UTC".into()));
        let whole = condition.and(col("event_time").lt(lit(end)));
        if self.clusters.is_empty() {
            return whole;
        }
        let clusters = self.clusters.iter().map(|cluster| lit(cluster.as_str())).collect();
        whole.and(col("cluster").in_list(clusters, false))
    }

    /// Whether it holds for this cluster.
    #[must_use]
    pub fn is_of(&self, cluster: &str) -> bool {
        self.clusters.is_empty() || self.clusters.contains(cluster)
    }
}

/// An entry as it is written; what is missing is told with the entry's line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    detection: serde_json::Value,
    #[serde(default)]
    condition: Option<Spanned<String>>,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    expires: Option<Spanned<String>>,
    #[serde(default)]
    clusters: Vec<String>,
}

/// Reads the file. Whether detections of these ids exist is for the catalogue to say.
///
/// # Errors
/// Every entry that is wrong, with its line and what to do.
pub fn parse(path: &str, text: &str) -> Result<Vec<Exception>, Vec<LoadError>> {
    if is_blank(text) {
        return Ok(Vec::new());
    }
    let path: Arc<str> = Arc::from(path);
    let fail = |line: Option<u64>, message: String, hint: Option<String>| {
        let path = Arc::clone(&path);
        LoadError { path, line, message, hint }
    };
    let written: Vec<Spanned<Written>> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let hint = "a list of entries with `detection`, `condition`, `owner`, `reason`, `expires`";
        vec![fail(line, yaml_message(&error.to_string()), Some(hint.to_owned()))]
    })?;
    let mut errors = Vec::new();
    let mut exceptions: Vec<Exception> = Vec::new();
    for entry in written {
        let line = entry.referenced.line();
        match read(entry.value, &path, line) {
            Ok(exception) => {
                if exceptions.iter().any(|other| other.name == exception.name) {
                    let message = format!("`{}` is there twice", exception.name);
                    let hint = "give each its own `name`, or join them".to_owned();
                    errors.push(fail(Some(line), message, Some(hint)));
                }
                exceptions.push(exception);
            }
            Err(wrong) => errors.extend(
                wrong
                    .into_iter()
                    .map(|wrong| fail(Some(wrong.line.unwrap_or(line)), wrong.message, wrong.hint)),
            ),
        }
    }
    if errors.is_empty() { Ok(exceptions) } else { Err(errors) }
}

fn read(written: Written, path: &Arc<str>, line: u64) -> Result<Exception, Vec<Told>> {
    let mut wrong = Vec::new();
    let mut missing = |key: &str, hint: &str| {
        let (message, hint) = (format!("no `{key}`"), Some(hint.to_owned()));
        wrong.push(Told { line: None, message, hint });
    };
    if written.owner.trim().is_empty() {
        missing("owner", "say who answers for it: a person or a team");
    }
    if written.reason.trim().is_empty() {
        missing("reason", "say why what it exempts is harmless");
    }
    if written.expires.is_none() {
        missing("expires", "say until when, as in `expires: 2027-06-30`");
    }
    if written.condition.is_none() {
        missing("condition", "say which events, as in `condition: user_name = 'backup'`");
    }
    if written.detection.is_null() {
        missing("detection", "name an id, a list of ids, or \"*\"");
    }
    let (Some(condition), Some(until)) = (written.condition, written.expires) else {
        return Err(wrong);
    };
    let expires = expires(&until.value);
    let detections = detections(&written.detection);
    if expires.is_none() {
        let message = format!("expires: `{}` is not a date", until.value);
        let hint = Some("write `2027-06-30`, or a time such as `2027-06-30T12:00:00Z`".to_owned());
        wrong.push(Told { line: Some(until.referenced.line()), message, hint });
    }
    if detections.is_none() && !written.detection.is_null() {
        let message = "detection: not an id, a list of ids, or \"*\"".to_owned();
        wrong.push(Told { line: None, message, hint: None });
    }
    for cluster in &written.clusters {
        if cluster.parse::<ClusterName>().is_err() {
            let message = format!("clusters: `{cluster}` is not the name of a cluster");
            wrong.push(Told { line: None, message, hint: None });
        }
    }
    if let Some(bad) = written.name.as_deref().filter(|name| name.trim().is_empty()) {
        let message = format!("name: `{bad}` says nothing");
        wrong.push(Told { line: None, message, hint: None });
    }
    if let Err(mut told) = check(&condition.value) {
        // Lines of a block of text begin behind its mark: the entry's own key is near enough.
        told.line = Some(condition.referenced.line());
        told.message = format!("condition: {}", told.message);
        wrong.push(told);
    }
    let (Some(expires), Some(detections), true) = (expires, detections, wrong.is_empty()) else {
        return Err(wrong);
    };
    let clusters: BTreeSet<String> = written.clusters.into_iter().collect();
    let condition = condition.value.trim().to_owned();
    let name = written.name.unwrap_or_else(|| hashed(&detections, &condition, &clusters));
    let (owner, reason) = (written.owner, written.reason);
    let path = Arc::clone(path);
    let list = None;
    Ok(Exception {
        name,
        list,
        detections,
        condition,
        owner,
        reason,
        expires,
        clusters,
        path,
        line,
    })
}

fn detections(written: &serde_json::Value) -> Option<Detections> {
    match written {
        serde_json::Value::String(all) if all == "*" => Some(Detections::All),
        serde_json::Value::String(id) => Some(Detections::Ids(BTreeSet::from([id.clone()]))),
        serde_json::Value::Array(ids) if !ids.is_empty() => {
            let ids = ids.iter().map(|id| id.as_str().map(str::to_owned));
            ids.collect::<Option<BTreeSet<String>>>().map(Detections::Ids)
        }
        _ => None,
    }
}

/// The end of a day, or a time; `None` when it is neither.
pub(super) fn expires(text: &str) -> Option<i64> {
    const DAY_MICROS: i64 = 86_400_000_000;
    let text = text.trim();
    let day = (text.len() == 10).then(|| parse_rfc3339(&format!("{text}T00:00:00Z"))).flatten();
    day.map(|day| day + DAY_MICROS).or_else(|| parse_rfc3339(text))
}

/// The same as long as the same is exempt, whoever owns it and however long.
fn hashed(detections: &Detections, condition: &str, clusters: &BTreeSet<String>) -> String {
    use std::fmt::Write as _;
    let mut digest = Sha256::new();
    let ids: Vec<&str> = match detections {
        Detections::All => vec!["*"],
        Detections::Ids(_) => detections.ids().collect(),
    };
    for part in ids.into_iter().chain([condition]).chain(clusters.iter().map(String::as_str)) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    let mut name = "exempt-".to_owned();
    for byte in digest.finalize().iter().take(4) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests;
