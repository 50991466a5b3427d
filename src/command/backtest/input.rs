//! The events: of files in the order of their beginnings, or of a history in the order of event
//! time; never more of them in memory than are worked on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::trial::Trial;
use crate::cli::BacktestArgs;
use crate::clock::now_micros;
use crate::command::input::Input as Chunks;
use crate::command::meter::Meter;
use crate::command::parts;
use crate::config::Settings;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::engine::LongMemory;
use crate::detect::rows::event_times;
use crate::event::Rows;
use crate::event::seen::Seen;
use crate::history::flush::History;
use crate::history::hot::Hot;
use crate::history::location::Location;
use crate::history::recall::Recall;

/// Events among which a repeat is told.
const SEEN_MAX: usize = 4_000_000;
/// Rows of files that are evaluated together.
const ROWS_MAX: usize = 16_384;

/// Where events come from.
pub(super) enum Input {
    Files { cluster: String, paths: Vec<PathBuf> },
    History { history: Box<History>, _lock: Option<File> },
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// Events, without repeats.
    pub(super) events: u64,
    /// Events that came before.
    pub(super) repeated: u64,
    /// Pieces of files that are no events.
    pub(super) unreadable: u64,
}

impl Input {
    /// Opens what the flags name.
    ///
    /// # Errors
    /// When it cannot be read, or a server holds it.
    pub(super) fn open(args: &BacktestArgs) -> Result<Self> {
        if let Some(data) = &args.data {
            return open_history(data, &args.config.settings()?);
        }
        let mut placed: Vec<(i64, PathBuf)> = Vec::new();
        for path in &args.files {
            // One alone, or what can be read once, is in its place.
            let alone = args.files.len() == 1 || path == Path::new("-");
            let first =
                if alone { i64::MAX } else { begin(path).with_context(|| reading(path))? };
            placed.push((first, path.clone()));
        }
        placed.sort_by_key(|(first, _)| *first);
        let paths = placed.into_iter().map(|(_, path)| path).collect();
        Ok(Self::Files { cluster: args.cluster.to_string(), paths })
    }

    /// When each cluster begins, as far as it is known before anything is read; microseconds.
    pub(super) fn beginnings(&self) -> BTreeMap<String, i64> {
        match self {
            Self::Files { .. } => BTreeMap::new(),
            Self::History { history, .. } => history.past().beginnings(),
        }
    }

    /// Whether it can be read again.
    pub(super) fn is_there_again(&self) -> bool {
        match self {
            Self::Files { paths, .. } => paths.iter().all(|path| path != Path::new("-")),
            Self::History { .. } => true,
        }
    }

    /// Tells a trial which keys were seen before an event time, microseconds, as far as that is
    /// known before events are read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn recall(&self, trial: &mut Trial, until: i64) -> Result<()> {
        let Self::History { history, .. } = self else { return Ok(()) };
        let recall = recall(history);
        for memory in trial.long_memories() {
            let LongMemory { conditions, key, lookback, .. } = &memory;
            let keys = recall.keys_before(conditions, key, *lookback, until);
            let keys = keys.and_then(|keys| keys.each(|rows| trial.recall(&memory, rows)));
            keys.context("read the history")?;
        }
        Ok(())
    }

    /// Gives the events from one event time up to another, microseconds, each once, with at least
    /// these columns. Of files all from before are given too.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn read(
        &self,
        (from, until): (i64, i64),
        wanted: &BTreeSet<String>,
        mut take: impl FnMut(&RecordBatch),
    ) -> Result<Read> {
        match self {
            Self::Files { cluster, paths } => {
                let mut reader = Reader::new(until, &mut take);
                let bytes = |path: &PathBuf| path.metadata().map_or(0, |about| about.len());
                let mut meter = Meter::start(paths.iter().map(bytes).sum());
                let mut before = 0;
                for path in paths {
                    let read = reader.file(cluster, path, (&mut meter, before));
                    before += read.with_context(|| reading(path))?;
                }
                meter.end();
                Ok(reader.read)
            }
            Self::History { history, .. } => from_history(history, (from, until), wanted, take),
        }
    }
}

fn reading(path: &Path) -> String {
    format!("read `{}`", path.display())
}

/// The time of the first event that is found, microseconds; the first chunk may have none.
fn begin(path: &Path) -> Result<i64> {
    if path.is_dir() {
        bail!("it is a folder: name the files in it");
    }
    let Some(body) = Chunks::open(path)?.next_chunk()? else { return Ok(i64::MAX) };
    let mut begin = i64::MAX;
    let (mut rows, mut quarantined) = (Rows::new(), Vec::new());
    let mut note = |rows: &mut Rows| {
        let rows = rows.finish();
        let first = event_times(&rows).ok().and_then(|times| times.iter().min().copied());
        begin = begin.min(first.unwrap_or(i64::MAX));
    };
    let delivery = delivery("default", &body);
    Decoder::new().decode_in_parts(&delivery, &mut rows, &mut quarantined, &mut note);
    note(&mut rows);
    Ok(begin)
}

fn delivery<'a>(cluster: &'a str, body: &'a [u8]) -> Delivery<'a> {
    Delivery { cluster, source: "file", received_at: now_micros(), body }
}

/// Files on their way through decode.
struct Reader<'a> {
    decoder: Decoder,
    rows: Rows,
    quarantined: Vec<Quarantined>,
    sieve: Sieve<'a>,
    read: Read,
}

/// Lets rows through that are new and in time.
struct Sieve<'a> {
    seen: Seen,
    until: i64,
    take: &'a mut dyn FnMut(&RecordBatch),
}

impl<'a> Reader<'a> {
    fn new(until: i64, take: &'a mut dyn FnMut(&RecordBatch)) -> Self {
        let sieve = Sieve { seen: Seen::new(SEEN_MAX, i64::MAX), until, take };
        Self {
            decoder: Decoder::new(),
            rows: Rows::new(),
            quarantined: Vec::new(),
            sieve,
            read: Read::default(),
        }
    }

    /// Reads a file; gives its bytes as they lie on the disk.
    fn file(
        &mut self,
        cluster: &str,
        path: &Path,
        (meter, before): (&mut Meter, u64),
    ) -> Result<u64> {
        let mut chunks = Chunks::open(path)?;
        while let Some(body) = chunks.next_chunk()? {
            let Self { decoder, rows, quarantined, sieve, read } = self;
            let delivery = delivery(cluster, &body);
            decoder.decode_in_parts(&delivery, rows, quarantined, |rows| {
                sieve.pass(&rows.finish(), read);
            });
            if rows.len() >= ROWS_MAX {
                sieve.pass(&rows.finish(), read);
            }
            read.unreadable += quarantined.drain(..).count() as u64;
            meter.tell(before + chunks.bytes_read(), read.events);
        }
        // Rows of another time may follow.
        self.sieve.pass(&self.rows.finish(), &mut self.read);
        Ok(chunks.bytes_read())
    }
}

impl Sieve<'_> {
    fn pass(&mut self, decoded: &RecordBatch, read: &mut Read) {
        // The horizon is by number alone: a file says nothing about arrival.
        let rows = self.seen.keep_new(decoded, 0).unwrap_or_else(|_| decoded.clone());
        read.repeated += (decoded.num_rows() - rows.num_rows()) as u64;
        let times = event_times(&rows).unwrap_or_default();
        let in_time: BooleanArray = times.iter().map(|time| Some(*time < self.until)).collect();
        let rows = if in_time.true_count() == rows.num_rows() {
            rows
        } else {
            filter_record_batch(&rows, &in_time).unwrap_or(rows)
        };
        // Whole chunks are large: windows that are over are looked for in between.
        for start in (0..rows.num_rows()).step_by(ROWS_MAX) {
            let part = rows.slice(start, ROWS_MAX.min(rows.num_rows() - start));
            read.events += part.num_rows() as u64;
            (self.take)(&part);
        }
    }
}

/// Opens the history of a data directory, of where its settings say, or at a URL. One in a bucket
/// is read as it is, whoever writes there.
fn open_history(data: &Path, settings: &Settings) -> Result<Input> {
    let named = data.to_str().filter(|text| text.contains("://"));
    let location = match named {
        Some(url) => Location::url(url, &settings.history.options.0)?,
        None => parts::location(settings, data)?,
    };
    let mut lock = None;
    if let Some(folder) = location.path() {
        let (shown, has_lock) = (data.display(), named.is_none());
        if !folder.is_dir() {
            bail!("`{shown}` has no history: start a server on it once, or import logs");
        }
        let taken = has_lock.then(|| parts::lock(data)).transpose();
        lock = taken.context("a history is read while no server holds it")?;
    }
    let history = History::open_existing(location, Arc::new(Hot::new(0)))?;
    let Some(history) = history else {
        bail!("`{}` has no history: start a server with it once, or import logs", data.display());
    };
    Ok(Input::History { history: Box::new(history), _lock: lock })
}

fn recall(history: &History) -> Recall {
    let news = Arc::new(history.table().without_imports());
    Recall::new(Arc::new(history.table()), news)
}

fn from_history(
    history: &History,
    (from, until): (i64, i64),
    wanted: &BTreeSet<String>,
    mut take: impl FnMut(&RecordBatch),
) -> Result<Read> {
    let recall = recall(history);
    let slices = history.past().slices(from, until);
    let mut meter = Meter::start(slices.iter().map(|slice| slice.bytes).sum());
    let (mut read, mut bytes, mut last) = (Read::default(), 0, String::new());
    for slice in slices {
        let rows = recall.in_order((slice.from, slice.to), wanted, |rows| {
            let new = without_repeats(rows, &mut last);
            read.events += new.num_rows() as u64;
            take(&new);
        });
        let rows = rows.context("read the history")?;
        bytes += slice.bytes;
        read.repeated += rows;
        meter.tell(bytes, read.events);
    }
    meter.end();
    read.repeated = read.repeated.saturating_sub(read.events);
    Ok(read)
}

/// Rows in the order of time and id without those that are there twice: they stand side by side.
fn without_repeats(rows: &RecordBatch, last: &mut String) -> RecordBatch {
    let Some(ids) = rows.column_by_name("event_id").and_then(|ids| ids.as_string_view_opt()) else {
        return rows.clone();
    };
    let new = (0..ids.len()).map(|row| {
        let id = if ids.is_valid(row) { ids.value(row) } else { "" };
        let is_new = id.is_empty() || id != last;
        if is_new {
            id.clone_into(last);
        }
        Some(is_new)
    });
    let new: BooleanArray = new.collect();
    if new.true_count() == rows.num_rows() {
        return rows.clone();
    }
    filter_record_batch(rows, &new).unwrap_or_else(|_| rows.clone())
}
