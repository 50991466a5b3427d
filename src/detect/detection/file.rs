//! The file of a detection.
//!
//! It stays valid SQL anywhere. Everything is checked here that can be checked without
//! planning the query: unknown keys, wrong values, windows that do not divide.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::kind::{Kind, WrittenAbsence, WrittenNovelty, WrittenSilence, kind};
use super::needs::Needs;
use super::severity::Severity;
use crate::sql::address::Addresses;

/// Aligned sliding windows of event time: `[k * slide - length, k * slide)` for every integer k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Length in microseconds; a multiple of `slide`.
    pub length: i64,
    /// Distance of two windows in microseconds.
    pub slide: i64,
}

impl Window {
    /// Start of the pane that holds a time: a pane is one slide of event time.
    #[must_use]
    pub fn pane(self, time: i64) -> i64 {
        time.div_euclid(self.slide).saturating_mul(self.slide)
    }

    /// Ends of all windows that hold a pane, ascending.
    pub fn ends(self, pane: i64) -> impl Iterator<Item = i64> {
        (1..=self.length / self.slide).map(move |k| pane.saturating_add(k * self.slide))
    }
}

/// A value bound to a `$name` placeholder of the query.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
}

/// A detection as loaded from its file; the query is not planned yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Unique id, such as `K8A-205`.
    pub id: String,
    /// One line that names the behaviour.
    pub title: String,
    /// How bad its findings are.
    pub severity: Severity,
    /// MITRE ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Hardening control ids.
    pub controls: Vec<String>,
    /// The window it looks at; `None` looks at each event alone.
    pub window: Option<Window>,
    /// What it asks beyond its query.
    pub kind: Kind,
    /// Length of a deduplication bucket in microseconds; a multiple of the slide, at most 366 days.
    pub dedup: i64,
    /// Output columns that name the finding's key. Empty for a grouped query: the GROUP BY
    /// columns are the key.
    pub key: Vec<String>,
    /// Values of the query's `$name` placeholders.
    pub params: BTreeMap<String, Param>,
    /// What it needs from the audit policy.
    pub needs: Needs,
    /// The sentence a finding shows; `{{column}}` names an output column.
    pub describe: String,
    /// What else looks like this.
    pub false_positives: String,
    /// What to do first.
    pub respond: String,
    /// The lists of what is known to be harmless that hold for it, by their names.
    pub exempt: Vec<String>,
    /// Whether it runs unless `overrides.yaml` says otherwise.
    pub enabled: bool,
    /// The whole text of the file, comment included: line numbers in errors are the file's.
    pub sql: String,
    /// Where it came from, for messages.
    pub path: Arc<str>,
    /// What its query can ask about addresses; nothing until it is supplied.
    pub addresses: Addresses,
}

/// Why a detection cannot be loaded: the file, the line where known, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// The file.
    pub path: Arc<str>,
    /// One-based line of the file, where known.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// The YAML of the leading comment, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontMatter {
    id: String,
    title: String,
    severity: Severity,
    #[serde(default)]
    attack: Vec<String>,
    #[serde(default)]
    controls: Vec<String>,
    #[serde(default)]
    pub(super) window: Option<String>,
    #[serde(default)]
    slide: Option<String>,
    #[serde(default)]
    dedup: Option<String>,
    #[serde(default)]
    pub(super) first_seen: Option<WrittenNovelty>,
    #[serde(default)]
    pub(super) absent: Option<WrittenAbsence>,
    #[serde(default)]
    pub(super) silent: Option<WrittenSilence>,
    #[serde(default)]
    pub(super) over: Option<String>,
    #[serde(default)]
    pub(super) key: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    needs: Needs,
    describe: String,
    #[serde(default)]
    false_positives: String,
    #[serde(default)]
    respond: String,
    #[serde(default)]
    exempt: Vec<String>,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

const DEDUP_DEFAULT: &str = "1h";
pub(in super::super) const DEDUP_MAX: i64 = 366 * 24 * 3_600_000_000;
const WINDOW_MAX: i64 = 31 * 24 * 3_600_000_000;
const PANES_MAX: i64 = 1_000;

impl Detection {
    /// Reads one detection file.
    ///
    /// # Errors
    /// When there is no leading comment, its YAML is wrong, or a value is out of range.
    pub fn parse(path: &str, text: &str) -> Result<Self, LoadError> {
        let path: Arc<str> = Arc::from(path);
        let fail = |line: Option<u64>, message: String, hint: Option<&str>| LoadError {
            path: Arc::clone(&path),
            line,
            message,
            hint: hint.map(str::to_owned),
        };
        let (yaml, line_before) = front_matter(text).ok_or_else(|| {
            fail(
                Some(1),
                "no front matter".to_owned(),
                Some("start the file with a /* ... */ comment that holds `id:`, `title:`, ..."),
            )
        })?;
        // A key in braces, or an error of the whole, has no line of its own: the comment's first.
        let from_comment = |line: Option<u64>| Some(line.unwrap_or(1) + line_before);
        let front: FrontMatter = serde_saphyr::from_str(yaml).map_err(|error| {
            let line = from_comment(error.location().map(|location| location.line()));
            let message = yaml_message(&error.to_string());
            fail(line, format!("front matter: {message}"), None)
        })?;
        let bad = |key: &str, message: String| {
            fail(from_comment(line_of_key(yaml, key)), format!("{key}: {message}"), None)
        };
        if front.id.is_empty() || !front.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(bad("id", "use letters, digits and `-` only".to_owned()));
        }
        let window = window(&front, &bad)?;
        let dedup = front.dedup.as_deref().unwrap_or(DEDUP_DEFAULT);
        let dedup = micros(dedup).map_err(|message| bad("dedup", message))?;
        if dedup > DEDUP_MAX {
            return Err(bad("dedup", "at most 366d".to_owned()));
        }
        if window.is_some_and(|window| dedup % window.slide != 0) {
            return Err(bad("dedup", "must be a multiple of the slide".to_owned()));
        }
        let (kind, key) = kind(&front, &bad)?;
        front.needs.check().map_err(|message| bad("needs", message))?;
        let mut params = BTreeMap::new();
        for (name, value) in front.params {
            let value = param(&value).ok_or_else(|| {
                bad("params", format!("`{name}` must be a text, a number, true or false"))
            })?;
            params.insert(name, value);
        }
        Ok(Self {
            id: front.id,
            title: front.title,
            severity: front.severity,
            attack: front.attack,
            controls: front.controls,
            window,
            kind,
            dedup,
            key,
            params,
            needs: front.needs,
            describe: front.describe,
            false_positives: front.false_positives,
            respond: front.respond,
            exempt: front.exempt,
            enabled: front.enabled,
            sql: text.to_owned(),
            path,
            addresses: Addresses::default(),
        })
    }

    /// An error of this file; `line` is one-based.
    #[must_use]
    pub fn error(&self, line: Option<u64>, message: String, hint: Option<String>) -> LoadError {
        LoadError { path: Arc::clone(&self.path), line, message, hint }
    }

    /// The columns that `describe` names, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.describe
            .split("{{")
            .skip(1)
            .filter_map(|rest| rest.split_once("}}"))
            .map(|(name, _)| name.trim())
    }

    /// The columns of its key, without the cluster, which is part of every key.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        without_cluster(&self.key)
    }

    /// One-based line of the file on which the front matter has this key.
    #[must_use]
    pub fn line_of(&self, key: &str) -> Option<u64> {
        let (yaml, line_before) = front_matter(&self.sql)?;
        line_of_key(yaml, key).map(|line| line + line_before)
    }
}

pub(super) fn without_cluster(key: &[String]) -> Vec<String> {
    key.iter().filter(|name| *name != "cluster").cloned().collect()
}

fn window(
    front: &FrontMatter,
    bad: &dyn Fn(&str, String) -> LoadError,
) -> Result<Option<Window>, LoadError> {
    let Some(length) = front.window.as_deref() else {
        return match front.slide {
            Some(_) => Err(bad("slide", "has no meaning without `window`".to_owned())),
            None => Ok(None),
        };
    };
    let length = micros(length).map_err(|message| bad("window", message))?;
    if length > WINDOW_MAX {
        return Err(bad("window", "at most 31d".to_owned()));
    }
    let slide = match front.slide.as_deref() {
        Some(slide) => micros(slide).map_err(|message| bad("slide", message))?,
        None if length % 10 == 0 => length / 10,
        None => return Err(bad("window", "not divisible by 10, name a `slide`".to_owned())),
    };
    if length % slide != 0 || length / slide > PANES_MAX {
        let message = format!("must divide the window into at most {PANES_MAX} equal parts");
        return Err(bad("slide", message));
    }
    Ok(Some(Window { length, slide }))
}

/// The text between the leading `/*` and `*/`, and the number of lines before it.
pub(crate) fn front_matter(text: &str) -> Option<(&str, u64)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = text.find(|c: char| !c.is_whitespace())?;
    let body = text.get(start..)?.strip_prefix("/*")?;
    let (yaml, _) = body.split_once("*/")?;
    let before = text.get(..start)?;
    Some((yaml, before.matches('\n').count() as u64))
}

/// The first line of the YAML reader's message: the rest is a drawing of the source.
pub(crate) fn yaml_message(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("not YAML");
    line.trim().trim_start_matches("error: ").to_owned()
}

pub(in super::super) fn line_of_key(yaml: &str, key: &str) -> Option<u64> {
    let position = yaml.lines().position(|line| {
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
    })?;
    Some(position as u64 + 1)
}

/// Microseconds of a duration such as `90s`, `10m`, `1h` or `7d`.
pub(in super::super) fn micros(text: &str) -> Result<i64, String> {
    let duration: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a duration such as 90s, 10m, 1h: {error}"))?;
    match i64::try_from(duration.as_micros()) {
        Ok(micros) if micros > 0 => Ok(micros),
        _ => Err(format!("`{text}` is out of range")),
    }
}

pub(in super::super) fn param(value: &serde_json::Value) -> Option<Param> {
    match value {
        serde_json::Value::Bool(value) => Some(Param::Bool(*value)),
        serde_json::Value::Number(value) => match value.as_i64() {
            Some(value) => Some(Param::Int(value)),
            None => value.as_f64().map(Param::Float),
        },
        serde_json::Value::String(value) => Some(Param::Text(value.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/*\nid: T-1\ntitle: t\nseverity: high\nwindow: 10m\nparams: {n: 3}\n\
                        describe: \"{{user_name}} did {{n}}\"\n*/\nSELECT 1";

    #[test]
    fn a_good_file_is_read() {
        let detection = Detection::parse("t.sql", GOOD).unwrap();
        assert_eq!(detection.window, Some(Window { length: 600_000_000, slide: 60_000_000 }));
        assert_eq!(detection.dedup, 3_600_000_000);
        assert_eq!(detection.params["n"], Param::Int(3));
        assert_eq!(detection.placeholders().collect::<Vec<_>>(), ["user_name", "n"]);
        assert_eq!(detection.line_of("describe"), Some(7));
    }

    #[test]
    fn wrong_files_say_where_and_why() {
        check("SELECT 1", "t.sql:1: no front matter");
        check(&GOOD.replace("title: t", "titel: t"), "t.sql:3: front matter: ");
        check(&GOOD.replace("10m", "10 parsecs"), "t.sql:5: window: ");
        check(&GOOD.replace("10m", "10m\nslide: 7m"), "t.sql:6: slide: must divide");
        check(&GOOD.replace("10m", "10m\ndedup: 90s"), "t.sql:6: dedup: must be a multiple");
        check(&GOOD.replace("id: T-1", "id: T 1"), "t.sql:2: id: use letters");
        check(&GOOD.replace("{n: 3}", "{n: [3]}"), "t.sql:6: params: `n` must be");
        check(&GOOD.replace("high", "huge"), "t.sql:4: front matter: ");
        check(&GOOD.replace("10m", "10m\ndedup: 292000y"), "t.sql:6: dedup: at most 366d");
        let braces = "{id: a/b, title: t, severity: high, describe: d}";
        check(&format!("\n/* {braces} */"), "t.sql:2: id: use letters");
        check("\n\n/**/", "t.sql:3: front matter: ");
    }

    fn check(text: &str, expected: &str) {
        let error = Detection::parse("t.sql", text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\nexpected: {expected}");
    }
}
