//! Stretches of event time whose rows fit into memory: how a long history is read in the order of
//! event time.
//!
//! What is known without reading a file is its first and last time, its rows and its bytes; they
//! are taken to be spread evenly. So a slice is only about as large as it should be.

use std::collections::BTreeMap;

use super::file::DataFile;
use super::replay::Past;

/// About how many rows a slice has, and how many bytes of files: unpacked they are ten times that.
const ROWS: u64 = 131_072;
const BYTES: u64 = 16 << 20;
/// A file of more is cut into so large pieces.
const PIECES: u64 = 8;

/// A stretch of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its start, microseconds.
    pub from: i64,
    /// Its end, which is not in it.
    pub to: i64,
    /// About how many bytes of files it has.
    pub bytes: u64,
}

/// A part of a file.
struct Piece {
    start: i64,
    rows: u64,
    bytes: u64,
}

impl Past {
    /// Cuts the time from one event time up to another into slices, ascending and without gaps;
    /// none where nothing happened. Rows that are not in files yet do not count.
    #[must_use]
    pub fn slices(&self, from: i64, to: i64) -> Vec<Slice> {
        let mut pieces: Vec<Piece> = self.files.iter().flat_map(pieces).collect();
        pieces.sort_by_key(|piece| piece.start);
        let first = self.files.iter().map(|file| file.event_time.0).min().unwrap_or(to);
        let last = self.files.iter().map(|file| file.event_time.1).max().unwrap_or(from);
        let (from, to) = (from.max(first), to.min(last.saturating_add(1)));
        if from >= to {
            return Vec::new();
        }
        let mut slices = Vec::new();
        let mut slice = Slice { from, to: from, bytes: 0 };
        let mut rows = 0;
        for piece in pieces.iter().filter(|piece| piece.start < to) {
            let is_full = rows + piece.rows > ROWS || slice.bytes + piece.bytes > BYTES;
            if is_full && piece.start > slice.from {
                slices.push(Slice { to: piece.start, ..slice });
                slice = Slice { from: piece.start, to: piece.start, bytes: 0 };
                rows = 0;
            }
            // What lies before is in no slice.
            if piece.start >= from {
                rows += piece.rows;
                slice.bytes += piece.bytes;
            }
        }
        slices.push(Slice { to, ..slice });
        slices
    }

    /// The first event time of each cluster, microseconds.
    #[must_use]
    pub fn beginnings(&self) -> BTreeMap<String, i64> {
        let mut beginnings = BTreeMap::new();
        for file in self.files.iter() {
            let first = beginnings.entry(file.cluster.clone()).or_insert(i64::MAX);
            *first = file.event_time.0.min(*first);
        }
        beginnings
    }
}

/// The pieces of a file, each a fraction of what a slice may have.
fn pieces(file: &DataFile) -> impl Iterator<Item = Piece> {
    let by_rows = file.rows.saturating_mul(PIECES).div_ceil(ROWS);
    let by_bytes = file.bytes.saturating_mul(PIECES).div_ceil(BYTES);
    let count = by_rows.max(by_bytes).max(1);
    let (first, last) = file.event_time;
    let length = last.saturating_sub(first) / i64::try_from(count).unwrap_or(i64::MAX) + 1;
    let (rows, bytes) = (file.rows.div_ceil(count), file.bytes.div_ceil(count));
    (0..count).map(move |number| {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Piece { start: first.saturating_add(number.saturating_mul(length)), rows, bytes }
    })
}

#[cfg(test)]
mod tests {
    use super::super::location::Location;
    use super::*;

    fn past(files: &[(i64, i64, u64, u64)]) -> (Past, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = |(first, last, rows, bytes): &(i64, i64, u64, u64)| DataFile {
            path: format!("{first}.parquet"),
            bytes: *bytes,
            rows: *rows,
            cluster: "c".to_owned(),
            day: "1970-01-01".to_owned(),
            event_time: (*first, *last),
            ingest_time: (0, 0),
        };
        let files: Vec<DataFile> = files.iter().map(file).collect();
        (Past { location: Location::folder(dir.path()).unwrap(), files: files.into() }, dir)
    }

    #[test]
    fn slices_follow_each_other_and_are_about_as_large_as_they_may_be() {
        let files = [(0, 999_999, 4 * ROWS, 10), (500_000, 1_999_999, ROWS, 4 * BYTES)];
        let (past, _dir) = past(&files);
        let slices = past.slices(i64::MIN, i64::MAX);
        assert_eq!((slices[0].from, slices.last().unwrap().to), (0, 2_000_000));
        assert!(slices.is_sorted_by(|a, b| a.to == b.from), "{slices:?}");
        assert!((7..=10).contains(&slices.len()), "{slices:?}");
        assert!(slices.iter().all(|slice| slice.from < slice.to && slice.bytes <= BYTES + 2));
        // A file that is cut anywhere: the pieces before do not count.
        let slices = past.slices(990_000, 1_000_000);
        assert_eq!((slices[0].from, slices.last().unwrap().to), (990_000, 1_000_000));
        assert!(slices.len() <= 2, "{slices:?}");
    }

    #[test]
    fn nothing_has_no_slices() {
        let (past, _dir) = past(&[]);
        assert_eq!(past.slices(i64::MIN, i64::MAX), []);
        let (past, _dir) = self::past(&[(10, 10, 1, 1)]);
        assert_eq!(past.slices(i64::MIN, 10), []);
        assert_eq!(past.slices(11, i64::MAX), []);
        assert_eq!(past.slices(i64::MIN, i64::MAX), [Slice { from: 10, to: 11, bytes: 1 }]);
        assert_eq!(past.beginnings()["c"], 10);
    }
}
