//! What detect hands on: a finding, and how its identity is made.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::detection::Detection;
use super::evidence::Evidence;
use super::row::Row;
use super::value::Value;

/// Whether a finding still stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The events say so.
    Open,
    /// Later events disproved it; kept, visibly.
    Withdrawn,
}

impl Status {
    /// The lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// All of one key in one deduplication bucket. A later version of it has the same `id` and
/// replaces it whole.
#[derive(Clone, Debug)]
pub struct Finding {
    /// 32 hex digits, the same for the same events, always.
    pub id: String,
    /// The detection that found it.
    pub detection: Arc<Detection>,
    /// Whether it still stands.
    pub status: Status,
    /// The cluster of its events.
    pub cluster: String,
    /// The key: column name and value, without the cluster.
    pub key: Row,
    /// Its deduplication bucket: a time, in units of the detection's `dedup`.
    pub bucket: i64,
    /// The row it shows: that of the window with the most events (ties: the earliest).
    pub row: Row,
    /// The events behind it.
    pub evidence: Evidence,
    /// State was capped while it was made: it may miss events.
    pub incomplete: bool,
}

impl Finding {
    /// The sentence made of the detection's `describe` and the row; one line, safe to print.
    #[must_use]
    pub fn summary(&self) -> String {
        render(&self.detection.describe, &self.row)
    }

    /// Bytes beside its row, which others may hold too, and its detection.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.id.len()
            + self.cluster.len()
            + self.key.bytes()
            + self.evidence.heap()
    }

    /// True when nothing is said that `other` does not say.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.status == other.status
            && self.row == other.row
            && self.evidence == other.evidence
            && self.incomplete == other.incomplete
    }
}

/// Where a finding belongs: `time` (microseconds) picks the deduplication bucket.
pub(crate) struct Identity<'a> {
    pub(crate) detection: &'a Detection,
    pub(crate) cluster: &'a str,
    /// Its values, written one behind the other by [`Value::write_canonical`].
    pub(crate) key: &'a [u8],
    pub(crate) bucket: i64,
}

/// The deduplication bucket of a time, in units of the detection's `dedup`.
pub(crate) fn bucket(detection: &Detection, time: i64) -> i64 {
    time.div_euclid(detection.dedup)
}

impl Identity<'_> {
    /// First half of SHA-256 over detection id, cluster, key values and bucket, each delimited.
    pub(crate) fn id(&self) -> String {
        let mut bytes = Vec::with_capacity(128);
        Value::write_text(&self.detection.id, &mut bytes);
        Value::write_text(self.cluster, &mut bytes);
        bytes.extend(self.key);
        Value::Int(self.bucket).write_canonical(&mut bytes);
        let digest = Sha256::digest(&bytes);
        digest.iter().take(16).fold(String::with_capacity(32), |mut id, byte| {
            for nibble in [byte >> 4, byte & 15] {
                id.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
            id
        })
    }

    /// The key's columns by name, without the cluster.
    pub(crate) fn columns(&self, names: &Arc<[String]>) -> Row {
        Row::new(names, Value::read_canonical(self.key))
    }
}

const VALUE_CHARS_MAX: usize = 200;

/// `describe` with the row's values in place: one line, each value bounded, control characters
/// as escapes, because the values are an attacker's words.
fn render(describe: &str, row: &Row) -> String {
    let mut out = String::with_capacity(describe.len() + 64);
    let mut rest = describe.trim();
    while let Some((text, after)) = rest.split_once("{{") {
        out.push_str(text);
        let Some((name, after)) = after.split_once("}}") else {
            rest = after;
            break;
        };
        let name = name.trim();
        if let Some(value) = row.get(name) {
            push_safe(&mut out, &value.to_string());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A text as one line that is safe to print, of at most so many characters: of a longer one the
/// beginning.
#[must_use]
pub fn safe_line(text: &str, chars_max: usize) -> String {
    let mut line = String::with_capacity(text.len());
    push_bounded(&mut line, text, chars_max);
    line
}

fn push_safe(out: &mut String, text: &str) {
    push_bounded(out, text, VALUE_CHARS_MAX);
}

fn push_bounded(out: &mut String, text: &str, chars_max: usize) {
    for (position, char) in text.chars().enumerate() {
        if position == chars_max {
            out.push('…');
            break;
        }
        if is_plain(char) {
            out.push(char);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(char));
        }
    }
}

/// Whether a character shows as what it is: neither controls nor hides what stands beside it.
#[must_use]
pub fn is_plain(char: char) -> bool {
    !char.is_control() && !is_format(char)
}

/// Invisible characters that reorder or hide text on a screen.
fn is_format(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_one_bounded_line() {
        let names = ["user", "n", "long", "none"].map(str::to_owned);
        let values = vec![
            Value::Text("eve\n\u{202e}root".to_owned()),
            Value::Int(3),
            Value::Text("x".repeat(300)),
            Value::Null,
        ];
        let row = Row::new(&names.to_vec().into(), values);
        assert_eq!(render("{{ user }} did {{n}}", &row), "eve\\u{a}\\u{202e}root did 3");
        assert_eq!(render("{{none}} {{missing}}.", &row), "none .");
        assert_eq!(render("{{long}}", &row).chars().count(), 201);
        assert_eq!(render("open {{user", &row), "open user");
    }
}
