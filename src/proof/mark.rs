//! Which rows of a segment are not those that came.
//!
//! A segment's root says that rows were changed, not which. So a file has a mark beside each row,
//! in its column `_row`:
//!
//! ```text
//! i64    number of the row in its segment << 16 │ the first two bytes of its hash
//! ```
//! and the segment's statement has the SHA-256 of these two bytes of all its rows in their order,
//! so that marks which were changed too point at nobody. A mark points, and proves nothing: of
//! 65,536 changes one leaves it as it was, and then all that is known is that the root is another.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::account::Made;
use super::statement::SegmentId;
use super::tree::{Frontier, Hash};

/// So many rows of a segment are named, and others counted.
const NAMED_MAX: usize = 100;
/// So many of them are named in a sentence.
const TOLD_MAX: usize = 3;
/// Bits of a mark that are of the row's hash.
const HASH_BITS: u32 = 16;

/// The marks of a segment that is being written.
#[derive(Debug, Default)]
pub struct Marks {
    marks: Vec<i64>,
    hash: Sha256,
}

impl Marks {
    /// Of the next row.
    pub fn push(&mut self, row: Hash) {
        let short = short(row);
        self.hash.update(short.to_be_bytes());
        // There are less rows than memory has bytes.
        let number = i64::try_from(self.marks.len()).unwrap_or(i64::MAX);
        self.marks.push((number << HASH_BITS) | i64::from(short));
    }

    /// What is beside the rows, and the hash that is signed.
    #[must_use]
    pub fn finish(self) -> (Vec<i64>, Hash) {
        (self.marks, Hash(self.hash.finalize().into()))
    }
}

/// The number of a row in its segment, by its mark.
#[must_use]
pub fn number(mark: i64) -> Option<u64> {
    u64::try_from(mark >> HASH_BITS).ok()
}

fn short(hash: Hash) -> u16 {
    let [first, second, ..] = hash.0;
    u16::from_be_bytes([first, second])
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its content is another one.
    Changed,
    /// It is not there.
    Gone,
    /// It did not come.
    Added,
}

/// A row that is not as it came, named by what is in the file now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What became of it.
    pub how: How,
    /// The segment that it is of.
    pub segment: SegmentId,
    /// Its place in the segment, from 0; `None` of one that was added.
    pub row: Option<u64>,
    /// Its place in the file, from 0; `None` of one that is gone.
    pub file_row: Option<u64>,
    /// The id of its event.
    pub event_id: Option<String>,
    /// The audit id of its event.
    pub audit_id: Option<String>,
    /// The stage of its event.
    pub stage: Option<String>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.segment;
        match (self.how, self.row) {
            (How::Changed, Some(row)) => write!(f, "row {row} of segment {segment} was changed")?,
            (How::Gone, Some(row)) => write!(f, "row {row} of segment {segment} is gone")?,
            _ => write!(f, "a row of segment {segment} was added")?,
        }
        let Some(file_row) = self.file_row else { return Ok(()) };
        let of = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let (audit_id, stage) = (of(&self.audit_id), of(&self.stage));
        write!(f, " (now with audit id {audit_id}, stage {stage}; row {file_row} of the file)")
    }
}

/// The first rows of some, as a sentence's end.
#[must_use]
pub fn told(rows: &[Row], more: u64) -> String {
    let mut named: Vec<String> = rows.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    let more = more.saturating_add(rows.len().saturating_sub(TOLD_MAX) as u64);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

/// A segment's rows as a file has them.
#[derive(Debug)]
pub struct Found {
    segment: SegmentId,
    /// How many came.
    rows: u64,
    tree: Frontier,
    /// By number what marks say of hashes; `None` where no row has this number.
    marks: Vec<Option<u16>>,
    /// Those that their marks do not fit.
    wrong: Vec<Row>,
    /// Further ones.
    more: u64,
}

/// Who a row is, for those that are named: the ids of its event and its request, and its stage.
#[derive(Debug, Default)]
pub struct Named<'a> {
    /// The id of its event.
    pub event_id: Option<&'a str>,
    /// The audit id of its event.
    pub audit_id: Option<&'a str>,
    /// The stage of its event.
    pub stage: Option<&'a str>,
}

impl Found {
    /// Of a segment of which so many rows came.
    #[must_use]
    pub fn new(segment: SegmentId, rows: u64) -> Self {
        let (marks, wrong) = (Vec::new(), Vec::new());
        Self { segment, rows, tree: Frontier::default(), marks, wrong, more: 0 }
    }

    /// Takes the next row of the file: its hash, its mark if it has one, its place in the file, and
    /// who it is.
    pub fn push<'a>(
        &mut self,
        hash: Hash,
        mark: Option<i64>,
        file_row: u64,
        named: impl FnOnce() -> Named<'a>,
    ) {
        self.tree.push(hash);
        let row = mark.and_then(|mark| self.claim(mark));
        if row.is_some() && mark.is_some_and(|mark| mark & 0xFFFF == i64::from(short(hash))) {
            return;
        }
        let how = if row.is_some() { How::Changed } else { How::Added };
        let Named { event_id, audit_id, stage } = named();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.name(Row {
            how,
            segment: self.segment,
            row,
            file_row: Some(file_row),
            event_id: owned(event_id),
            audit_id: owned(audit_id),
            stage: owned(stage),
        });
    }

    /// The number of a row by its mark; `None` when no row can have it, or another has it.
    fn claim(&mut self, mark: i64) -> Option<u64> {
        let number = number(mark).filter(|number| *number < self.rows)?;
        let at = usize::try_from(number).ok()?;
        if self.marks.len() <= at {
            self.marks.resize(at + 1, None);
        }
        let held = self.marks.get_mut(at)?;
        if held.is_some() {
            return None;
        }
        *held = u16::try_from(mark & 0xFFFF).ok();
        Some(number)
    }

    fn name(&mut self, row: Row) {
        if self.wrong.len() < NAMED_MAX {
            self.wrong.push(row);
        } else {
            self.more += 1;
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Whether these rows are those that came.
    #[must_use]
    pub fn is(&self, made: &Made) -> bool {
        self.size() == made.rows && self.tree.root() == made.root
    }

    /// Which rows are not those that came, and how many more; nothing where marks do not say so.
    #[must_use]
    pub fn wrong(mut self, made: &Made) -> (Vec<Row>, u64) {
        let nobody = (Vec::new(), 0);
        let Some(signed) = made.marks else { return nobody };
        if self.is(made) || self.marks.is_empty() {
            return nobody;
        }
        self.marks.resize(usize::try_from(self.rows).unwrap_or(usize::MAX), None);
        let marks = std::mem::take(&mut self.marks);
        let mut hash = Sha256::new();
        let mut is_whole = true;
        for (number, mark) in (0..).zip(&marks) {
            if let Some(mark) = mark {
                hash.update(mark.to_be_bytes());
                continue;
            }
            is_whole = false;
            let (how, segment) = (How::Gone, self.segment);
            let (event_id, audit_id, stage) = (None, None, None);
            let (row, file_row) = (Some(number), None);
            self.name(Row { how, segment, row, file_row, event_id, audit_id, stage });
        }
        if is_whole && Hash(hash.finalize().into()) != signed {
            return nobody;
        }
        (self.wrong, self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> Hash {
        Hash::of(&[number])
    }

    /// A segment of eight rows, and its marks.
    fn made() -> (Made, Vec<i64>) {
        let (mut marks, mut tree) = (Marks::default(), Frontier::default());
        for number in 0..8 {
            marks.push(hash(number));
            tree.push(hash(number));
        }
        let (beside, signed) = marks.finish();
        let made = Made {
            leaf: None,
            rows: 8,
            root: tree.root(),
            marks: Some(signed),
            cluster: String::new(),
            events: (String::new(), String::new()),
        };
        (made, beside)
    }

    /// What is said of rows, each with its mark.
    fn wrong(made: &Made, rows: &[(Hash, Option<i64>)]) -> Vec<(How, Option<u64>, Option<u64>)> {
        let mut found = Found::new(SegmentId::new(1, 0).unwrap(), made.rows);
        for ((hash, mark), place) in rows.iter().zip(0..) {
            found.push(*hash, *mark, place, Named::default);
        }
        let (rows, more) = found.wrong(made);
        assert_eq!(more, 0);
        rows.into_iter().map(|row| (row.how, row.row, row.file_row)).collect()
    }

    type Sound = Vec<(Hash, Option<i64>)>;

    #[test]
    fn rows_that_were_changed_removed_or_added_are_told_apart() {
        let (made, marks) = made();
        let sound: Sound = (0..8).map(hash).zip(marks.into_iter().map(Some)).collect();
        assert_eq!(wrong(&made, &sound), []);
        let check = |change: &dyn Fn(&mut Sound), expected: &[_]| {
            let mut rows = sound.clone();
            change(&mut rows);
            assert_eq!(wrong(&made, &rows), expected);
        };
        check(&|rows| rows[3].0 = hash(99), &[(How::Changed, Some(3), Some(3))]);
        let gone = |rows: &mut Sound| {
            rows.remove(3);
        };
        check(&gone, &[(How::Gone, Some(3), None)]);
        check(&|rows| rows.truncate(7), &[(How::Gone, Some(7), None)]);
        check(&|rows| rows.insert(2, (hash(99), None)), &[(How::Added, None, Some(2))]);
        check(&|rows| rows.insert(2, rows[1]), &[(How::Added, None, Some(2))]);
        let replaced = [(How::Added, None, Some(3)), (How::Gone, Some(3), None)];
        check(&|rows| rows[3] = (hash(99), None), &replaced);
        // Marks that were changed too, and marks that are not there.
        check(&|rows| rows[3].1 = rows[3].1.map(|mark| mark ^ 1), &[]);
        check(&|rows| rows.iter_mut().for_each(|row| *row = (hash(99), None)), &[]);
        let unmarked = Made { marks: None, ..made.clone() };
        let mut rows = sound.clone();
        rows[3].0 = hash(99);
        assert_eq!(wrong(&unmarked, &rows), []);
        // A number that no row can have takes no memory.
        check(&|rows| rows.push((hash(8), Some(i64::MAX))), &[(How::Added, None, Some(8))]);
        check(&|rows| rows.push((hash(8), Some(-1))), &[(How::Added, None, Some(8))]);
    }

    #[test]
    fn many_rows_are_counted() {
        let made = Made { rows: 1_000, ..made().0 };
        let mut found = Found::new(SegmentId::new(1, 0).unwrap(), made.rows);
        found.push(hash(0), Some(i64::from(short(hash(0)))), 0, Named::default);
        let (rows, more) = found.wrong(&made);
        assert_eq!((rows.len(), more), (100, 899));
        assert!(told(&rows, more).ends_with("row 3 of segment 1.0 is gone, and 996 more"));
    }
}
