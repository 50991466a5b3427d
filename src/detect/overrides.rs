//! `overrides.yaml` in the operator's folder: what is changed of detections without a copy of them.
//!
//! ```yaml
//! K8A-205:
//!   severity: medium
//!   params: {distinct_secrets: 40}
//! K8A-401:
//!   enabled: false
//! ```
//!
//! Promise: a changed detection is checked as its file is; an unknown id, key or parameter is an
//! error with its line. Never: the query, the key or the window changes; that is another detection,
//! in a file of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::detection::{
    DEDUP_MAX, Detection, LoadError, Param, Severity, line_of_key, micros, param, yaml_message,
};

/// Its name in the operator's folder.
pub const FILE: &str = "overrides.yaml";

/// What is changed of one detection.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// How bad its findings are instead.
    pub severity: Option<Severity>,
    /// Values of some of its parameters instead.
    pub params: BTreeMap<String, Param>,
    /// Whether it runs.
    pub enabled: Option<bool>,
    /// Length of a deduplication bucket instead, microseconds.
    pub dedup: Option<i64>,
    /// One-based line of its id in the file.
    pub line: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    severity: Option<Severity>,
    #[serde(default)]
    params: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    dedup: Option<String>,
}

/// Reads the file: what is changed, by the ids of detections.
///
/// # Errors
/// With the line, when it is not such YAML or a value is wrong by itself.
pub fn parse(path: &str, text: &str) -> Result<BTreeMap<String, Override>, LoadError> {
    let fail = |line: Option<u64>, message: String, hint: Option<&str>| LoadError {
        path: path.into(),
        line,
        message,
        hint: hint.map(str::to_owned),
    };
    if is_blank(text) {
        return Ok(BTreeMap::new());
    }
    let written: BTreeMap<String, Written> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let hint = "ids of detections, each with `severity`, `params`, `enabled`, `dedup`";
        fail(line, yaml_message(&error.to_string()), Some(hint))
    })?;
    let mut overrides = BTreeMap::new();
    for (id, written) in written {
        let line = line_of_key(text, &id).unwrap_or(1);
        let bad = |message: String| fail(Some(line), format!("{id}: {message}"), None);
        let mut params = BTreeMap::new();
        for (name, value) in written.params {
            let value = param(&value).ok_or_else(|| {
                bad(format!("params: `{name}` must be a text, a number, true or false"))
            })?;
            params.insert(name, value);
        }
        let dedup = written.dedup.as_deref().map(micros).transpose();
        let dedup = dedup.map_err(|message| bad(format!("dedup: {message}")))?;
        let Written { severity, enabled, .. } = written;
        if severity.is_none() && enabled.is_none() && dedup.is_none() && params.is_empty() {
            return Err(bad("nothing is changed".to_owned()));
        }
        overrides.insert(id, Override { severity, params, enabled, dedup, line });
    }
    Ok(overrides)
}

/// Whether a YAML file holds nothing but comments.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

impl Override {
    /// The names of what it changes, in a fixed order.
    #[must_use]
    pub fn changes(&self) -> Vec<&'static str> {
        let all = [
            ("severity", self.severity.is_some()),
            ("params", !self.params.is_empty()),
            ("enabled", self.enabled.is_some()),
            ("dedup", self.dedup.is_some()),
        ];
        all.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }

    /// The detection as it is changed; `path` is the file's, for messages.
    ///
    /// # Errors
    /// Every change that the detection does not take.
    pub fn applied(&self, path: &str, of: &Arc<Detection>) -> Result<Detection, Vec<LoadError>> {
        let mut errors = Vec::new();
        let mut bad = |message: String, hint: String| {
            let message = format!("{}: {message}", of.id);
            let (path, line, hint) = (path.into(), Some(self.line), Some(hint));
            errors.push(LoadError { path, line, message, hint });
        };
        let mut changed = of.as_ref().clone();
        changed.severity = self.severity.unwrap_or(of.severity);
        for (name, value) in &self.params {
            match of.params.get(name) {
                None => {
                    let names: Vec<&str> = of.params.keys().map(String::as_str).collect();
                    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                    bad(format!("no parameter `{name}`"), format!("it has: {names}"));
                }
                Some(old) => match converted(value, old) {
                    Some(value) => drop(changed.params.insert(name.clone(), value)),
                    None => bad(
                        format!("params: `{name}` is of another kind"),
                        format!("the detection has {}", shown(old)),
                    ),
                },
            }
        }
        if let Some(dedup) = self.dedup {
            let slide = of.window.map_or(1, |window| window.slide);
            if dedup > DEDUP_MAX || dedup % slide != 0 {
                let message = "dedup: not a multiple of the slide, or over 366d".to_owned();
                bad(message, format!("the slide is {} s", slide / 1_000_000));
            }
            changed.dedup = dedup;
        }
        if errors.is_empty() { Ok(changed) } else { Err(errors) }
    }
}

/// A value of the kind that the old one is.
fn converted(value: &Param, old: &Param) -> Option<Param> {
    match (value, old) {
        (Param::Bool(_), Param::Bool(_))
        | (Param::Int(_), Param::Int(_))
        | (Param::Float(_), Param::Float(_))
        | (Param::Text(_), Param::Text(_)) => Some(value.clone()),
        #[expect(clippy::cast_precision_loss, reason = "a limit somebody wrote down")]
        (Param::Int(value), Param::Float(_)) => Some(Param::Float(*value as f64)),
        _ => None,
    }
}

/// A parameter's value as it is written in YAML.
#[must_use]
pub fn shown(param: &Param) -> String {
    match param {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) => value.to_string(),
        Param::Float(value) => value.to_string(),
        Param::Text(value) => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection() -> Arc<Detection> {
        let text = "/*\nid: T-1\ntitle: t\nseverity: high\nwindow: 10m\nparams: {n: 3, part: 0.5, \
                    who: x}\ndescribe: d\n*/\nSELECT 1";
        Arc::new(Detection::parse("t.sql", text).unwrap())
    }

    #[test]
    fn what_is_said_changes_and_the_rest_stays() {
        let text = "# ours\nT-1:\n  severity: low\n  params: {n: 40, part: 1}\n  dedup: 2h\n";
        let overrides = parse("o.yaml", text).unwrap();
        let change = &overrides["T-1"];
        assert_eq!((change.line, change.changes()), (2, vec!["severity", "params", "dedup"]));
        let changed = change.applied("o.yaml", &detection()).unwrap();
        assert_eq!((changed.severity, changed.dedup), (Severity::Low, 7_200_000_000));
        assert_eq!(changed.params["n"], Param::Int(40));
        assert_eq!(changed.params["part"], Param::Float(1.0));
        assert_eq!(changed.params["who"], Param::Text("x".to_owned()));
        assert_eq!(changed.window, detection().window);
        assert_eq!(parse("o.yaml", "# nothing\n\n").unwrap(), BTreeMap::new());
    }

    #[test]
    fn mistakes_have_lines_and_hints() {
        check("T-1:\n  severty: low\n", "o.yaml:2: ");
        check("T-1:\n  window: 5m\n", "o.yaml:2: ");
        check("\nT-1:\n  severity: huge\n", "o.yaml:3: ");
        check("T-1: {}\n", "o.yaml:1: T-1: nothing is changed");
        check("T-1: {enabled: true}\nT-1: {enabled: false}\n", "o.yaml:2: ");
        check("\nT-1: {params: {n: [1]}}\n", "o.yaml:2: T-1: params: `n` must be");
        check("\nT-1: {dedup: soon}\n", "o.yaml:2: T-1: dedup: `soon` is not");
        check(
            "\nT-1: {params: {m: 1}}\n",
            "o.yaml:2: T-1: no parameter `m`\n  hint: it has: n, part, who",
        );
        check("T-1: {params: {n: many}}\n", "o.yaml:1: T-1: params: `n` is of another kind");
        check("T-1: {params: {n: 1.5}}\n", "o.yaml:1: T-1: params: `n` is of another kind");
        check("T-1: {dedup: 90s}\n", "o.yaml:1: T-1: dedup: not a multiple of the slide");
    }

    fn check(text: &str, expected: &str) {
        let error = match parse("o.yaml", text) {
            Err(error) => error,
            Ok(overrides) => {
                let change = overrides.values().next().unwrap();
                change.applied("o.yaml", &detection()).unwrap_err().remove(0)
            }
        };
        assert!(error.to_string().starts_with(expected), "{error}\nexpected: {expected}");
    }
}
