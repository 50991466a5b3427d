//! Rows in memory become files of the table, and what was written is looked after.
//!
//! The order is what makes nothing lost and nothing doubled: first the findings of these rows are
//! durable, then the files, then the commit that names them and the journal position, then the
//! rows leave memory, then the journal may forget. A crash between any two repeats work.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use datafusion::error::DataFusionError;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::runtime::{Builder, Runtime};
use tracing::{debug, error, info};

use super::encode::encode;
use super::error::HistoryError;
use super::events::EventsTable;
use super::file::DataFile;
use super::hot::{Due, Hot, Waited};
use super::known::without_known;
use super::location::Location;
use super::log::{Change, Log};
use super::minutes::MinutesTable;
use super::prover::Prover;
use super::redact::Redactor;
use super::replay::Past;
use super::upkeep::{Plan, Upkeep, UpkeepSettings};
use crate::clock::now_micros;
use crate::event::repeating::text;
use crate::event::schema::events_schema;
use crate::event::time::rfc3339;
use crate::fault::point;
use crate::journal::Position;
use crate::proof::key::{Head, SigningKey};
use crate::proof::statement::{SegmentId, Statement, Told, What};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);
/// How often what is left at the end is tried to be written.
const LAST_ATTEMPTS: u32 = 3;
const DAY_MICROS: i64 = 86_400_000_000;

/// When rows are written, and what becomes of files.
#[derive(Clone, Debug)]
pub struct FlushSettings {
    /// So many bytes of rows in memory are written.
    pub bytes: usize,
    /// Rows are in memory for at most so long.
    pub age: Duration,
    /// Events that came later than so many microseconds after their time may be in files already.
    pub late: i64,
    /// What is not kept of them.
    pub redactor: Redactor,
    /// What becomes of files.
    pub upkeep: UpkeepSettings,
    /// What signs what is done; without it, nothing is proven.
    pub key: Option<SigningKey>,
}

/// What is done around a commit.
pub struct Around {
    /// Makes durable what was found in the records below a position.
    pub before: Box<dyn FnMut(Position) -> anyhow::Result<()> + Send>,
    /// All events of the records below a position are durable: others may forget them.
    pub after: Box<dyn FnMut(Position) -> io::Result<()> + Send>,
    /// Whether others wait for a commit that is not due yet.
    pub urgent: Box<dyn Fn() -> bool + Send>,
    /// Is told of each commit: rows that it wrote and bytes of their files.
    pub wrote: Box<dyn FnMut(u64, u64) + Send>,
    /// Is told of each new head of the log of proofs.
    pub signed: Box<dyn FnMut(&Head) + Send>,
    /// Is told of each failure.
    pub failed: Box<dyn FnMut() + Send>,
}

/// The history of one data directory, opened for writing.
pub struct History {
    location: Location,
    hot: Arc<Hot>,
    log: Log,
    runtime: Runtime,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("location", &self.location).finish_non_exhaustive()
    }
}

impl History {
    /// Opens the table of a place, creating it when missing; `hot` shows its files from now on.
    /// `writer` names the journal whose positions are committed, always the same for the same one.
    ///
    /// # Errors
    /// When the place cannot be reached, or has another table.
    pub fn open(location: Location, writer: &str, hot: Arc<Hot>) -> Result<Self, HistoryError> {
        Self::open_within(Duration::MAX, location, writer, hot)
    }

    /// Opens the table of a place to read it; `None` where there is none.
    ///
    /// # Errors
    /// When the place cannot be reached, or has a table of another kind.
    pub fn open_existing(location: Location, hot: Arc<Hot>) -> Result<Option<Self>, HistoryError> {
        let runtime = runtime()?;
        // Nothing is written: no name is needed.
        let log = runtime.block_on(Log::open_existing(&location, ""))?;
        log.map(|log| Self::opened(location, hot, log, runtime)).transpose()
    }

    /// As [`Self::open`], but gives up after this long.
    pub(super) fn open_within(
        limit: Duration,
        location: Location,
        writer: &str,
        hot: Arc<Hot>,
    ) -> Result<Self, HistoryError> {
        let runtime = runtime()?;
        let log = runtime.block_on(async {
            let opened = tokio::time::timeout(limit, Log::open(&location, writer)).await;
            opened.map_err(|_| HistoryError::Slow(limit))?
        })?;
        Self::opened(location, hot, log, runtime)
    }

    fn opened(
        location: Location,
        hot: Arc<Hot>,
        log: Log,
        runtime: Runtime,
    ) -> Result<Self, HistoryError> {
        let files = log.files()?;
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        info!(files = files.len(), rows, position = log.position(), "history opened");
        hot.show(files);
        Ok(Self { location, hot, log, runtime })
    }

    /// All events of the journal below this position are in the table.
    #[must_use]
    pub fn position(&self) -> Position {
        self.log.position()
    }

    /// The table `events`.
    #[must_use]
    pub fn table(&self) -> EventsTable {
        EventsTable::new(Arc::clone(&self.hot), &self.location)
    }

    /// The table `events_per_minute`.
    #[must_use]
    pub fn minutes(&self) -> MinutesTable {
        MinutesTable::new(Arc::clone(&self.hot), &self.location)
    }

    /// What the table holds now, to be read while it goes on.
    #[must_use]
    pub fn past(&self) -> Past {
        Past { location: self.location.clone(), files: self.hot.files() }
    }

    /// Writes what is due until no more rows come, then what is left.
    ///
    /// # Errors
    /// Never: what fails is tried again; at the end, after a few attempts, the journal still has
    /// what was not written.
    pub fn run(mut self, settings: &FlushSettings, mut around: Around) -> anyhow::Result<()> {
        let due = Due { bytes: settings.bytes, age: settings.age };
        let mut upkeep = Upkeep::new(settings.upkeep);
        let (mut retry, mut looked) = (RETRY_FIRST, Instant::now());
        let mut last_attempts = LAST_ATTEMPTS;
        let mut prover = settings.key.clone().map(Prover::new);
        self.prove(prover.as_mut(), &mut around);
        loop {
            let waited = self.hot.wait_until(due, LOOK);
            let mut result = Ok(());
            if waited != Waited::Nothing || (around.urgent)() {
                result = self.flush(settings, &mut around);
            }
            // Also under load there is something to look after.
            if result.is_ok() && waited != Waited::Closed && looked.elapsed() >= LOOK {
                let done = self.look_after(&mut upkeep, settings);
                // Whose files are not known any more are not to be touched.
                result = done.or_else(|error| self.refresh().and(Err(error)));
                looked = Instant::now();
            }
            self.prove(prover.as_mut(), &mut around);
            match result {
                Ok(()) => retry = RETRY_FIRST,
                Err(error) => {
                    (around.failed)();
                    error!(error = format!("{error:#}"), "history not written, will try again");
                    self.hot.wait_until_closed(retry);
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
            if waited == Waited::Closed {
                last_attempts -= 1;
                if last_attempts == 0 || self.hot.size().0 == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn flush(&mut self, settings: &FlushSettings, around: &mut Around) -> anyhow::Result<()> {
        let Some(cut) = self.hot.cut(self.log.position()) else { return Ok(()) };
        let written = self.write(settings, around, &cut.batches, cut.position);
        match written {
            Ok(files) => {
                let rows: u64 = files.iter().map(|file| file.rows).sum();
                let bytes: u64 = files.iter().map(|file| file.bytes).sum();
                debug!(rows, bytes, position = cut.position, "history written");
                self.hot.replace(self.log.files()?);
                point("history_replaced");
                (around.after)(cut.position)?;
                (around.wrote)(rows, bytes);
                Ok(())
            }
            Err(error) => {
                // A commit that failed may have been made: only the log knows. While it cannot be
                // asked, the same rows are tried again, so that this stays a question of one
                // position.
                let refreshed = self.runtime.block_on(self.log.refresh());
                if refreshed.is_ok() && self.log.position() >= cut.position {
                    self.hot.replace(self.log.files()?);
                    return Ok((around.after)(cut.position)?);
                }
                if refreshed.is_ok() {
                    self.hot.show(self.log.files()?);
                }
                self.hot.keep();
                Err(error)
            }
        }
    }

    fn write(
        &mut self,
        settings: &FlushSettings,
        around: &mut Around,
        batches: &[RecordBatch],
        position: Position,
    ) -> anyhow::Result<Vec<DataFile>> {
        (around.before)(position)?;
        point("findings_durable");
        let old = self.hot.files();
        let (mut files, mut segments) = (Vec::new(), Vec::new());
        for ((cluster, day), rows) in partitions(batches)? {
            let known = without_known(&self.location, &old, &cluster, rows, settings.late);
            let rows = self.runtime.block_on(known)?;
            if rows.num_rows() == 0 {
                continue;
            }
            let (rows, redacted) = settings.redactor.apply(&rows)?;
            let segment = SegmentId::new(self.log.version() + 1, files.len());
            let segment = segment.ok_or(HistoryError::Scattered)?;
            let encoded = encode(&rows, segment)?;
            let file = DataFile::new(&cluster, &day_name(day), &encoded);
            segments.push(encoded.segment(segment, &file, redacted));
            self.runtime.block_on(self.location.put(&file.path, encoded.bytes))?;
            files.push(file);
            point("history_file");
        }
        let (added, position) = (files.clone(), Some(position));
        let redaction = settings.redactor.rules();
        let told = self.tell(settings, What::Came { position, redaction, segments });
        let change = Change { added, position, rows: true, told, ..Change::default() };
        self.runtime.block_on(self.log.commit(&change, now_micros()))?;
        point("history_committed");
        Ok(files)
    }

    /// What is said of the next version, signed.
    fn tell(&self, settings: &FlushSettings, what: What) -> Option<Told> {
        let (version, at) = (self.log.version() + 1, rfc3339(now_micros()));
        Told::new(&Statement { version, at, what }, settings.key.as_ref()?)
    }

    /// Takes what was committed into the log of proofs. What cannot be done now is done after the
    /// next commit: commits say themselves what they are.
    fn prove(&self, prover: Option<&mut Prover>, around: &mut Around) {
        let Some(prover) = prover else { return };
        match self.runtime.block_on(prover.prove(&self.location, &self.log)) {
            Ok(None) => {}
            Ok(Some(head)) => (around.signed)(&head),
            Err(error) => {
                (around.failed)();
                if prover.is_news(&error) {
                    error!(error = error.to_string(), "history not proven, will try again");
                }
            }
        }
    }

    /// Shows what the log says now.
    fn refresh(&mut self) -> anyhow::Result<()> {
        self.runtime.block_on(self.log.refresh())?;
        self.hot.show(self.log.files()?);
        Ok(())
    }

    fn look_after(&mut self, upkeep: &mut Upkeep, settings: &FlushSettings) -> anyhow::Result<()> {
        let files = self.hot.files();
        match upkeep.plan(&files, now_micros()) {
            Plan::Nothing => return Ok(()),
            Plan::Compact(small) => {
                let merged = super::upkeep::compact(&self.location, &small);
                let (joined, into) = self.runtime.block_on(merged)?;
                point("history_compacted");
                let told = self.tell(settings, What::Joined { files: paths(&small), into });
                let added = vec![joined];
                let change = Change { added, removed: small, told, ..Change::default() };
                self.runtime.block_on(self.log.commit(&change, now_micros()))?;
                upkeep.removed(change.removed);
            }
            Plan::Expire(old) => {
                info!(files = old.len(), "history beyond its limits is let go");
                let (rule, files) = (settings.upkeep.rule(), paths(&old));
                let rows = old.iter().map(|file| file.rows).sum();
                let told = self.tell(settings, What::LetGo { rule, files, rows });
                let change = Change { removed: old, rows: true, told, ..Change::default() };
                self.runtime.block_on(self.log.commit(&change, now_micros()))?;
                point("history_expired");
                upkeep.removed(change.removed);
            }
            Plan::Delete(mut paths) => {
                // Another server may have put them into the table since.
                self.refresh()?;
                let files = self.hot.files();
                paths.retain(|path| files.iter().all(|file| file.path != *path));
                self.runtime.block_on(super::upkeep::delete(&self.location, paths));
                return Ok(());
            }
            Plan::LookForStrays => {
                let strays = super::upkeep::strays(&self.location, &files);
                let strays = self.runtime.block_on(strays)?;
                upkeep.found_strays(strays);
                return Ok(());
            }
        }
        point("history_changed");
        self.hot.show(self.log.files()?);
        Ok(())
    }
}

fn paths(files: &[DataFile]) -> Vec<String> {
    files.iter().map(|file| file.path.clone()).collect()
}

/// Rows by cluster and day of event time (days since 1970).
pub(super) fn partitions(
    batches: &[RecordBatch],
) -> Result<BTreeMap<(String, i64), RecordBatch>, HistoryError> {
    let mut partitions = BTreeMap::new();
    if batches.is_empty() {
        return Ok(partitions);
    }
    let rows = concat_batches(&events_schema(), batches)?;
    let schema = rows.schema();
    let clusters = rows.column(schema.index_of("cluster")?).as_dictionary::<Int32Type>();
    let times = rows.column(schema.index_of("event_time")?);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut members: BTreeMap<(&str, i64), Vec<u32>> = BTreeMap::new();
    for (row, number) in (0..rows.num_rows()).zip(0_u32..) {
        let name = text(clusters, row).unwrap_or_default();
        let day = times.value(row).div_euclid(DAY_MICROS);
        members.entry((name, day)).or_default().push(number);
    }
    for ((name, day), members) in members {
        let part = take_record_batch(&rows, &UInt32Array::from(members))?;
        partitions.insert((name.to_owned(), day), part);
    }
    Ok(partitions)
}

/// `YYYY-MM-DD` of a number of days since 1970; far out days are clamped.
pub(super) fn day_name(day: i64) -> String {
    let seconds =
        day.saturating_mul(DAY_MICROS / 1_000_000).clamp(-62_135_596_800, 253_402_128_000);
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).date().to_string()
}

fn runtime() -> Result<Runtime, HistoryError> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().thread_name("history").build();
    Ok(runtime.map_err(DataFusionError::from)?)
}

#[cfg(test)]
mod tests;
