//! What is wrong with a history, named.

use std::fmt;

use serde::Serialize;

use super::mark::Row;

/// One thing that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of thing.
    pub kind: Kind,
    /// A sentence that names it.
    pub what: String,
    /// The file that it is about, relative to the table.
    pub file: Option<String>,
    /// The leaf that says how it should be.
    pub leaf: Option<u64>,
    /// The segment that it is about.
    pub segment: Option<String>,
    /// The first rows that it is about, where they are known.
    pub rows: Vec<Row>,
}

/// Kinds of things that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no log of proofs.
    NoLog,
    /// A head is signed by another key, or not at all.
    OtherKey,
    /// The log is not what its head signs, or says what cannot be.
    LogChanged,
    /// A commit is missing in the log.
    Gap,
    /// The history is older than a head that was published.
    Older,
    /// The log does not lead to a head that was published.
    Rewritten,
    /// The table's newest commits are gone.
    CommitsDropped,
    /// A file is named by the table, and is not there.
    FileMissing,
    /// A file is not the one that was written.
    FileChanged,
    /// The table does not name a file that it must.
    FileDropped,
    /// The table names a file that nobody wrote.
    FileAdded,
    /// Rows are not those that came.
    RowsChanged,
    /// A commit that is not ours took rows away.
    RowsRemoved,
    /// A bundle's proof does not hold.
    NotProven,
}

impl Problem {
    /// A problem that is about no file.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), file: None, leaf: None, segment: None, rows: Vec::new() }
    }

    /// The same, about a file.
    #[must_use]
    pub fn of_file(self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// The same, about what a leaf says.
    #[must_use]
    pub fn of_leaf(self, leaf: Option<u64>) -> Self {
        Self { leaf, ..self }
    }

    /// The same, about a segment.
    #[must_use]
    pub fn of_segment(self, segment: impl fmt::Display) -> Self {
        Self { segment: Some(segment.to_string()), ..self }
    }

    /// The same, about these rows.
    #[must_use]
    pub fn of_rows(self, rows: Vec<Row>) -> Self {
        Self { rows, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
