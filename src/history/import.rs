//! Old logs become files of the table, while nobody else writes it.
//!
//! Promise: an import that was killed at any instruction goes on where its last commit was, and
//! one that came to its end does nothing when it is asked again. How far the events of a log are
//! in the table is written in the commit that names their files (a `txn` action of the log's own
//! name), so that rows and progress are there together or not at all. An event that the table has
//! for the same cluster and day is not stored again, whichever log or delivery it came with.
//!
//! Imported rows lie in files of their own, named `*-import.parquet`: questions see them as all
//! others, and detections do not take them for news when they are rebuilt at a start.
//!
//! Never: a whole log in memory. Rows are written when there are enough of them, and of the table
//! only the ids are read, of those files whose times overlap. An event without a time of its own
//! has that of its arrival, so that it is another event each time that it is imported anew.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use arrow::array::{AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{max, min, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::DataFusionError;
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};

use super::encode::encode;
use super::error::HistoryError;
use super::file::DataFile;
use super::flush::{day_name, partitions};
use super::known::each_id;
use super::location::Location;
use super::log::{Change, Log};
use super::prover::Prover;
use super::redact::Redactor;
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::fault::point;
use crate::journal::Position;
use crate::proof::key::SigningKey;
use crate::proof::statement::{Segment, SegmentId, Statement, Told, What};

/// So many bytes at the start and at the end of a log tell it from others.
const TOLD_BY: u64 = 1 << 20;

/// The table of a place, opened for an import.
pub struct Import {
    location: Location,
    redactor: Redactor,
    log: Log,
    runtime: Runtime,
    /// By cluster and day; those that wait for their commit too.
    files: BTreeMap<(String, String), Vec<DataFile>>,
    waiting: Vec<DataFile>,
    segments: Vec<Segment>,
    key: Option<SigningKey>,
    prover: Option<Prover>,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("location", &self.location).finish_non_exhaustive()
    }
}

/// How far a log is in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of it, unpacked, whose events are in the table.
    pub offset: u64,
    /// Whether that is all of it.
    pub done: bool,
}

/// What became of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows that are new.
    pub new: u64,
    /// Rows that the table had.
    pub known: u64,
    /// The oldest new row, microseconds since 1970, UTC; `i64::MAX` when there is none.
    pub oldest: i64,
}

impl Import {
    /// Opens the table of a place, creating it when missing. What the redactor names is not kept;
    /// without a key nothing is proven.
    ///
    /// # Errors
    /// When the place cannot be reached, or has another table.
    pub fn open(
        location: Location,
        writer: &str,
        redactor: Redactor,
        key: Option<SigningKey>,
    ) -> Result<Self, HistoryError> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().thread_name("import").build();
        let runtime = runtime.map_err(DataFusionError::from)?;
        let log = runtime.block_on(Log::open(&location, writer))?;
        let prover = key.clone().map(Prover::new);
        let (files, waiting, segments) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut import =
            Self { location, redactor, log, runtime, files, waiting, segments, key, prover };
        import.prove()?;
        for file in import.log.files()? {
            import.show(file);
        }
        Ok(import)
    }

    /// All events of the journal below this position are in the table.
    #[must_use]
    pub fn position(&self) -> Position {
        self.log.position()
    }

    /// How far the log of this name is in the table.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn progress(&self, name: &str) -> Result<Progress, HistoryError> {
        let version = self.runtime.block_on(self.log.import_version(name))?;
        let version = version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
        Ok(Progress { offset: version >> 1, done: version & 1 == 1 })
    }

    /// Writes those of these rows that the table does not have to files, which are in the table
    /// from the next [`Self::commit`] on.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub fn store(&mut self, rows: &RecordBatch) -> Result<Stored, HistoryError> {
        let mut stored = Stored { oldest: i64::MAX, ..Stored::default() };
        for ((cluster, day), rows) in partitions(std::slice::from_ref(rows))? {
            let day = day_name(day);
            let new = self.keep_new(&cluster, &day, &rows)?;
            stored.new += new.num_rows() as u64;
            stored.known += (rows.num_rows() - new.num_rows()) as u64;
            if new.num_rows() == 0 {
                continue;
            }
            let (new, redacted) = self.redactor.apply(&new)?;
            let segment = SegmentId::new(self.log.version() + 1, self.waiting.len());
            let segment = segment.ok_or(HistoryError::Scattered)?;
            let encoded = encode(&new, segment)?;
            let file = DataFile::imported(&cluster, &day, &encoded);
            self.segments.push(encoded.segment(segment, &file, redacted));
            self.runtime.block_on(self.location.put(&file.path, encoded.bytes))?;
            point("import_file");
            stored.oldest = stored.oldest.min(file.event_time.0);
            self.waiting.push(file.clone());
            self.show(file);
        }
        Ok(stored)
    }

    /// Puts what was stored since the last commit into the table, and with it how far the log of
    /// this name is; without a name, rows only.
    ///
    /// # Errors
    /// When the table cannot be written; what is in it then is what was in it before, or all.
    pub fn commit(&mut self, name: Option<&str>, progress: Progress) -> Result<(), HistoryError> {
        if name.is_none() && self.waiting.is_empty() {
            return Ok(());
        }
        let version = i64::try_from(progress.offset << 1).unwrap_or(i64::MAX - 1);
        let import = name.map(|name| (name.to_owned(), version | i64::from(progress.done)));
        let added = std::mem::take(&mut self.waiting);
        let segments = std::mem::take(&mut self.segments);
        let what = What::Came { position: None, redaction: self.redactor.rules(), segments };
        let (version, at) = (self.log.version() + 1, rfc3339(now_micros()));
        let said = Statement { version, at, what };
        let told = self.key.as_ref().and_then(|key| Told::new(&said, key));
        let change = Change { added, import, rows: true, told, ..Change::default() };
        self.runtime.block_on(self.log.commit(&change, now_micros()))?;
        point("import_committed");
        self.prove()
    }

    fn prove(&mut self) -> Result<(), HistoryError> {
        if let Some(prover) = &mut self.prover {
            self.runtime.block_on(prover.prove(&self.location, &self.log))?;
        }
        Ok(())
    }

    fn show(&mut self, file: DataFile) {
        let part = (file.cluster.clone(), file.day.clone());
        self.files.entry(part).or_default().push(file);
    }

    /// The rows, all of one cluster and day, that no file has, each once.
    fn keep_new(
        &self,
        cluster: &str,
        day: &str,
        rows: &RecordBatch,
    ) -> Result<RecordBatch, HistoryError> {
        let schema = rows.schema();
        let ids = rows.column(schema.index_of("event_id")?).as_string_view();
        let times = rows.column(schema.index_of("event_time")?);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let mut new: HashMap<u128, u32> = HashMap::with_capacity(rows.num_rows());
        for (id, row) in ids.iter().zip(0_u32..) {
            if let Some(id) = id.and_then(id_number) {
                new.entry(id).or_insert(row);
            }
        }
        let (first, last) = (min(times).unwrap_or(i64::MIN), max(times).unwrap_or(i64::MAX));
        let part = self.files.get(&(cluster.to_owned(), day.to_owned()));
        let overlaps = |file: &&DataFile| file.event_time.0 <= last && file.event_time.1 >= first;
        for file in part.into_iter().flatten().filter(overlaps) {
            if !new.is_empty() {
                let forget = |id: &str| {
                    if let Some(id) = id_number(id) {
                        new.remove(&id);
                    }
                };
                self.runtime.block_on(each_id(&self.location, &[file], forget))?;
            }
        }
        let mut kept: Vec<u32> = new.into_values().collect();
        kept.sort_unstable();
        Ok(take_record_batch(rows, &UInt32Array::from(kept))?)
    }
}

fn id_number(id: &str) -> Option<u128> {
    u128::from_str_radix(id, 16).ok()
}

/// The name under which it is written down how far a log of a cluster is: made of the log's
/// length, its first and its last bytes as they lie on the disk, whatever it is called and
/// wherever it lies. A log that has grown is another one.
///
/// # Errors
/// When it cannot be read.
pub fn name(cluster: &str, log: &mut File) -> io::Result<String> {
    let bytes = log.metadata()?.len();
    let mut hash = Sha256::new();
    hash.update(cluster.as_bytes());
    hash.update([0]);
    hash.update(bytes.to_le_bytes());
    for start in [0, bytes.saturating_sub(TOLD_BY)] {
        log.seek(SeekFrom::Start(start))?;
        let mut piece = Vec::new();
        log.by_ref().take(TOLD_BY).read_to_end(&mut piece)?;
        hash.update(&piece);
    }
    let half: [u8; 16] = hash.finalize().first_chunk().copied().unwrap_or_default();
    Ok(format!("auditmill-import-{:032x}", u128::from_be_bytes(half)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Delivery};
    use crate::event::Rows;
    use crate::event::schema::events_schema;

    fn rows(cluster: &str, seconds: std::ops::Range<i64>) -> RecordBatch {
        let mut rows = Rows::new();
        for second in seconds {
            let time = crate::event::time::rfc3339(1_767_225_600_000_000 + second * 1_000_000);
            let body = format!(
                r#"{{"auditID":"{second}","stage":"ResponseComplete","stageTimestamp":"{time}"}}"#
            );
            let body = body.as_bytes();
            let delivery = Delivery { cluster, source: "file", received_at: 7, body };
            Decoder::new().decode(&delivery, &mut rows, &mut Vec::new());
        }
        rows.finish()
    }

    fn open(folder: &std::path::Path) -> Import {
        Import::open(Location::folder(folder).unwrap(), "test", Redactor::default(), None).unwrap()
    }

    #[test]
    fn rows_come_in_once_with_how_far_their_log_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut import = open(folder.path());
        let oldest = 1_767_225_600_000_000;
        let stored = import.store(&rows("a", 0..10)).unwrap();
        assert_eq!(stored, Stored { new: 10, known: 0, oldest });
        // Of files that wait for their commit as of those that are in the table.
        let stored = import.store(&rows("a", 5..12)).unwrap();
        assert_eq!((stored.new, stored.known), (2, 5));
        let halfway = Progress { offset: 77, done: false };
        import.commit(Some("log"), halfway).unwrap();
        let again = arrow::compute::concat_batches(
            &events_schema(),
            &[rows("a", 11..13), rows("a", 12..14), rows("b", 0..1)],
        );
        let stored = import.store(&again.unwrap()).unwrap();
        assert_eq!((stored.new, stored.known), (3, 2));
        drop(import);

        // What was not committed is not there, and its progress neither.
        let mut import = open(folder.path());
        assert_eq!(import.progress("log").unwrap(), halfway);
        assert_eq!(import.progress("other").unwrap(), Progress::default());
        let stored = import.store(&rows("a", 0..14)).unwrap();
        assert_eq!((stored.new, stored.known), (2, 12));
        let done = Progress { offset: 99, done: true };
        import.commit(Some("log"), done).unwrap();
        assert_eq!(open(folder.path()).progress("log").unwrap(), done);
        assert!(import.log.files().unwrap().iter().all(DataFile::is_import));
    }

    #[test]
    fn a_log_is_told_by_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let log = |file: &str, bytes: &[u8]| {
            let path = folder.path().join(file);
            std::fs::write(&path, bytes).unwrap();
            name("a", &mut File::open(path).unwrap()).unwrap()
        };
        let first = log("1", b"some events");
        assert_eq!(log("2", b"some events"), first);
        assert_ne!(log("1", b"some events and more"), first);
        let path = folder.path().join("2");
        assert_ne!(name("b", &mut File::open(path).unwrap()).unwrap(), first);
    }
}
