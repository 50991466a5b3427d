//! What is said of a commit, signed: the leaves of the log.
//!
//! A statement is one line of JSON; its bytes as written are the leaf. The commit itself has it too
//! (`auditmillStatement`, and `auditmillSignature` over its hash), so that a crash between the
//! commit and the log leaves nothing untold: the next start takes it from there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::{SigningKey, VerifierKey};
use super::tree::Hash;

/// A longer one is not read: it would name hundreds of thousands of files.
pub const BYTES_MAX: usize = 64 << 20;
/// Files that one statement of the beginning names.
pub const FILES_MAX: usize = 1_000;
/// What stands before a statement's hash where it is signed alone.
const SIGNED: &str = "auditmill statement";

/// What is said of one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The table's version that it made.
    pub version: u64,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// What it did.
    pub what: What,
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Nothing: the log begins at this version. These files, and those of further statements of
    /// the same version, were there before; they are not covered.
    Began {
        /// Their paths.
        files: Vec<String>,
    },
    /// Rows came.
    Came {
        /// All events of the journal below this are in the table; `None` of an import.
        position: Option<u64>,
        /// The rules by which rows were redacted on their way.
        redaction: Vec<String>,
        /// The rows.
        segments: Vec<Segment>,
    },
    /// Files were joined; their rows are the same.
    Joined {
        /// The files.
        files: Vec<String>,
        /// What they are now.
        into: File,
    },
    /// Files were let go on purpose, and their rows with them.
    LetGo {
        /// The rule that says so.
        rule: String,
        /// The files.
        files: Vec<String>,
        /// How many rows.
        rows: u64,
    },
    /// Somebody else's commit: what it brought is not covered.
    Foreign {
        /// Files that it added.
        added: Vec<String>,
        /// Files that it removed.
        removed: Vec<String>,
    },
}

/// The rows of one cluster and day that one commit brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its id.
    pub id: SegmentId,
    /// Its cluster.
    pub cluster: String,
    /// Day of event time.
    pub day: String,
    /// The number of rows.
    pub rows: u64,
    /// How many of them were redacted.
    pub redacted: u64,
    /// First and last event time, RFC 3339.
    pub events: (String, String),
    /// The hash of the tree of its rows, in the order of event time and id.
    pub root: Hash,
    /// The hash of the marks of its rows; before there were marks it was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Hash>,
    /// The file that had them first.
    pub file: File,
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Relative to the table.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: Hash,
}

/// A segment, by the version that brought it and its number there. Files have it beside each row,
/// in a column `_segment` that is no column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentId(pub i64);

/// So many segments come with one version at most: a power of two.
const NUMBERS: i64 = 1 << 20;

impl SegmentId {
    /// The segment of this number of a version; `None` when there are too many.
    #[must_use]
    pub fn new(version: u64, number: usize) -> Option<Self> {
        let (version, number) = (i64::try_from(version).ok()?, i64::try_from(number).ok()?);
        (number < NUMBERS).then_some(())?;
        version.checked_mul(NUMBERS)?.checked_add(number).map(Self)
    }

    /// The version that brought it.
    #[must_use]
    pub fn version(self) -> u64 {
        u64::try_from(self.0 / NUMBERS).unwrap_or(0)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.div_euclid(NUMBERS), self.0.rem_euclid(NUMBERS))
    }
}

impl From<SegmentId> for String {
    fn from(id: SegmentId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SegmentId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = text
            .split_once('.')
            .and_then(|(version, number)| Self::new(version.parse().ok()?, number.parse().ok()?));
        parsed.ok_or("no segment such as `12.0`")
    }
}

impl Statement {
    /// Its line, without a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        // Texts and numbers only: there is nothing that cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A statement of its line; `None` when it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > BYTES_MAX {
            return None;
        }
        serde_json::from_slice(line).ok()
    }
}

/// A statement alone, signed, as it is put into a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its line.
    pub text: String,
    /// A note over its hash.
    pub signature: String,
}

impl Told {
    /// Signs a statement.
    #[must_use]
    pub fn new(statement: &Statement, key: &SigningKey) -> Option<Self> {
        let text = statement.text();
        let signature = key.sign(&signed(&text))?;
        Some(Self { text, signature })
    }

    /// The statement, if this key signed it.
    #[must_use]
    pub fn open(&self, key: &VerifierKey) -> Option<Statement> {
        let text = key.open(self.signature.as_bytes()).ok()?;
        let is_its = self.text.len() <= BYTES_MAX && text == signed(&self.text);
        is_its.then(|| Statement::parse(self.text.as_bytes())).flatten()
    }
}

/// What is signed of a statement. Two lines: no checkpoint has as few.
fn signed(text: &str) -> String {
    format!("{SIGNED}\n{}\n", Hash::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_written_and_signed() {
        let file = |path: &str| File { path: path.to_owned(), bytes: 7, sha256: Hash::of(b"x") };
        let segment = Segment {
            id: SegmentId::new(12, 3).unwrap(),
            cluster: "c".to_owned(),
            day: "2026-01-01".to_owned(),
            rows: 5,
            redacted: 1,
            events: (String::new(), String::new()),
            root: Hash::of(b"y"),
            marks: Some(Hash::of(b"z")),
            file: file("a"),
        };
        let files = vec!["a".to_owned()];
        let segments = vec![segment];
        let key = SigningKey::of(tempfile::tempdir().unwrap().path(), "k").unwrap();
        for what in [
            What::Began { files: files.clone() },
            What::Came { position: Some(3), redaction: files.clone(), segments },
            What::Joined { files: files.clone(), into: file("b") },
            What::LetGo { rule: "keep".to_owned(), files: files.clone(), rows: 2 },
            What::Foreign { added: files.clone(), removed: files },
        ] {
            let statement = Statement { version: 12, at: "now".to_owned(), what };
            assert_eq!(Statement::parse(statement.text().as_bytes()), Some(statement.clone()));
            let mut told = Told::new(&statement, &key).unwrap();
            assert_eq!(told.open(key.public()), Some(statement));
            told.text = told.text.replace("12", "13");
            assert_eq!(told.open(key.public()), None);
        }
        assert_eq!(SegmentId::new(12, 3).unwrap().to_string(), "12.3");
        assert_eq!(SegmentId::new(12, 3).unwrap().version(), 12);
        for wrong in ["{}", r#"{"version":1,"at":"","what":{"kind":"began","files":[],"x":1}}"#] {
            assert_eq!(Statement::parse(wrong.as_bytes()), None);
        }
        assert!(SegmentId::new(1, 1 << 20).is_none() && SegmentId::new(u64::MAX, 0).is_none());
    }
}
