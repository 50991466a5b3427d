//! What the table must have, by what was said of its commits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::problem::{Kind, Problem};
use super::statement::{File, Segment, SegmentId, Statement, What};
use super::tree::Hash;

/// So many problems are told; the first is the one to look at.
const PROBLEMS_MAX: usize = 100;

/// The table as the statements up to now say it is.
#[derive(Debug, Default)]
pub struct Account {
    /// The version that the last statement is about.
    version: Option<u64>,
    has_begun: bool,
    /// By path.
    files: BTreeMap<String, Held>,
    segments: HashMap<SegmentId, Made>,
    let_go: BTreeMap<String, u64>,
    rows_let_go: u64,
    problems: Vec<Problem>,
}

/// A file of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// As it was written; `None` when nobody told.
    pub file: Option<File>,
    /// Segments whose rows it has.
    pub segments: BTreeSet<SegmentId>,
    /// Whether it has rows of which nothing was told.
    pub is_partly_uncovered: bool,
}

/// A segment as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The leaf that told of it; `None` while it is told only in the commit.
    pub leaf: Option<u64>,
    /// Its rows.
    pub rows: u64,
    /// The hash of the tree of its rows.
    pub root: Hash,
    /// The hash of the marks of its rows; `None` of one from before there were any.
    pub marks: Option<Hash>,
    /// Its cluster.
    pub cluster: String,
    /// First and last event time, RFC 3339.
    pub events: (String, String),
}

impl Account {
    /// Takes the next statement into account; it is the leaf of this number, or a commit's own that
    /// is in no tree yet.
    pub fn take(&mut self, leaf: Option<u64>, statement: Statement) {
        let is_beginning = matches!(statement.what, What::Began { .. });
        let expected = match self.version {
            Some(version) if is_beginning && !self.has_begun => version,
            Some(version) => version.saturating_add(1),
            None => statement.version,
        };
        if statement.version != expected || is_beginning && self.has_begun {
            let what = format!(
                "the log has no word on version {expected} of the table: it goes on with {}",
                statement.version
            );
            self.tell(Problem::new(Kind::Gap, what).of_leaf(leaf));
        }
        if self.version.is_none() && !is_beginning {
            self.tell(Problem::new(Kind::Gap, "the log lacks its beginning").of_leaf(leaf));
        }
        self.has_begun |= !is_beginning;
        self.version = Some(statement.version);
        match statement.what {
            What::Began { files } => {
                let held = Held { is_partly_uncovered: true, ..Held::default() };
                self.files.extend(files.into_iter().map(|path| (path, held.clone())));
            }
            What::Came { segments, .. } => {
                for segment in segments {
                    self.came(leaf, segment);
                }
            }
            What::Joined { files, into } => self.joined(leaf, &files, into),
            What::LetGo { files, rows, .. } => {
                self.rows_let_go = self.rows_let_go.saturating_add(rows);
                for path in files {
                    let held = self.forget(leaf, &path).unwrap_or_default();
                    held.segments.iter().for_each(|id| drop(self.segments.remove(id)));
                    self.let_go.insert(path, statement.version);
                }
            }
            What::Foreign { added, removed } => self.foreign(leaf, added, &removed),
        }
    }

    fn came(&mut self, leaf: Option<u64>, segment: Segment) {
        let Segment { id, cluster, rows, root, marks, events, file, .. } = segment;
        let made = Made { leaf, rows, root, marks, cluster, events };
        let path = file.path.clone();
        let held =
            Held { file: Some(file), segments: BTreeSet::from([id]), is_partly_uncovered: false };
        let known = self.segments.insert(id, made).is_some();
        if self.files.insert(path, held).is_some() || known {
            let what = format!("the log tells of segment {id} or its file twice");
            self.tell(Problem::new(Kind::LogChanged, what).of_leaf(leaf).of_segment(id));
        }
    }

    fn joined(&mut self, leaf: Option<u64>, files: &[String], into: File) {
        let mut held = Held::default();
        for path in files {
            if let Some(part) = self.forget(leaf, path) {
                held.segments.extend(part.segments);
                held.is_partly_uncovered |= part.is_partly_uncovered;
            }
        }
        let path = into.path.clone();
        held.file = Some(into);
        self.files.insert(path, held);
    }

    fn foreign(&mut self, leaf: Option<u64>, added: Vec<String>, removed: &[String]) {
        for path in removed {
            let Some(held) = self.files.remove(path) else { continue };
            for id in held.segments {
                self.segments.remove(&id);
                let version = self.version.unwrap_or(0);
                let what = format!(
                    "version {version} of the table, which is not this server's, took away \
                     `{path}` with segment {id}"
                );
                let problem = Problem::new(Kind::RowsRemoved, what);
                self.tell(problem.of_file(path).of_leaf(leaf).of_segment(id));
            }
        }
        let version = self.version.unwrap_or(0);
        for path in added {
            let what = format!(
                "version {version} of the table, which is not this server's, added `{path}`"
            );
            self.tell(Problem::new(Kind::FileAdded, what).of_file(&path).of_leaf(leaf));
            let held = Held { is_partly_uncovered: true, ..Held::default() };
            self.files.insert(path, held);
        }
    }

    fn forget(&mut self, leaf: Option<u64>, path: &str) -> Option<Held> {
        let held = self.files.remove(path);
        if held.is_none() {
            let what = format!("the log lets go of `{path}`, which was not there");
            self.tell(Problem::new(Kind::LogChanged, what).of_file(path).of_leaf(leaf));
        }
        held
    }

    fn tell(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// The version that the last statement is about.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The table's files, by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Held> {
        &self.files
    }

    /// A segment that came.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<&Made> {
        self.segments.get(&id)
    }

    /// The version that let go of a file.
    #[must_use]
    pub fn let_go(&self, path: &str) -> Option<u64> {
        self.let_go.get(path).copied()
    }

    /// Rows that were let go on purpose.
    #[must_use]
    pub fn rows_let_go(&self) -> u64 {
        self.rows_let_go
    }

    /// What is wrong with the log itself.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        File { path: path.to_owned(), bytes: 1, sha256: Hash::of(path.as_bytes()) }
    }

    fn came(version: u64, path: &str) -> Statement {
        let segment = Segment {
            id: SegmentId::new(version, 0).unwrap(),
            cluster: "c".to_owned(),
            day: String::new(),
            rows: 1,
            redacted: 0,
            events: (String::new(), String::new()),
            root: Hash::of(b""),
            marks: None,
            file: file(path),
        };
        let what = What::Came { position: None, redaction: vec![], segments: vec![segment] };
        Statement { version, at: String::new(), what }
    }

    fn said(version: u64, what: What) -> Statement {
        Statement { version, at: String::new(), what }
    }

    fn account(statements: impl IntoIterator<Item = Statement>) -> Account {
        let mut account = Account::default();
        (0..).zip(statements).for_each(|(leaf, said)| account.take(Some(leaf), said));
        account
    }

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn segments_go_with_their_files() {
        let began = |name: &str| said(4, What::Began { files: paths(&[name]) });
        let joined = What::Joined { files: paths(&["old", "a", "b"]), into: file("ab") };
        let rule = "keep".to_owned();
        let gone = What::LetGo { rule, files: paths(&["older"]), rows: 9 };
        let statements =
            [began("old"), began("older"), came(5, "a"), came(6, "b"), said(7, joined)];
        let account = account(statements.into_iter().chain([said(8, gone)]));
        assert_eq!(account.problems(), []);
        assert_eq!((account.version(), account.let_go("older")), (Some(8), Some(8)));
        let held = &account.files()["ab"];
        assert!(account.files().len() == 1 && held.is_partly_uncovered);
        assert_eq!(held.segments.len(), 2);
        assert_eq!(account.segment(SegmentId::new(6, 0).unwrap()).unwrap().leaf, Some(3));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let check = |statements: Vec<Statement>, kind: Kind| {
            let account = account(statements);
            let kinds: Vec<Kind> = account.problems().iter().map(|told| told.kind).collect();
            assert_eq!(kinds, [kind], "{:?}", account.problems());
        };
        let began = || said(0, What::Began { files: vec![] });
        check(vec![began(), came(2, "a")], Kind::Gap);
        check(vec![came(1, "a")], Kind::Gap);
        check(vec![began(), came(1, "a"), came(2, "a")], Kind::LogChanged);
        let joined = What::Joined { files: paths(&["x"]), into: file("y") };
        check(vec![began(), said(1, joined)], Kind::LogChanged);
        let foreign = What::Foreign { added: vec![], removed: paths(&["a", "x"]) };
        check(vec![began(), came(1, "a"), said(2, foreign)], Kind::RowsRemoved);
    }
}
