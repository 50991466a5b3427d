//! THE loop: next records -> decode -> rows and detections -> findings. Read this first.
//!
//! It runs on a thread of its own and is the only one that does: a cluster's events meet one
//! engine, in the order of the journal. What it knows is a function of the journal: at start it
//! reads what an earlier run left, and time is the records' arrival, not the clock.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use tracing::{debug, error, warn};

use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::engine::{Engine, Outcome};
use crate::event::Rows;
use crate::event::seen::{Horizon, Seen};
use crate::findings::quarantine::Quarantine;
use crate::findings::step::Step;
use crate::findings::store::Store;
use crate::history::hot::Hot;
use crate::ingest::accept::Door;
use crate::journal::{Entry, Journal, Position, Read};
use crate::metrics::Metrics;

/// How much is taken from the journal at once: enough rows to make evaluation worth its fixed
/// cost, little enough to keep findings quick.
const READ_BYTES: usize = 8 << 20;
/// How often time is looked at while nothing comes.
const TICK: Duration = Duration::from_secs(1);
const TICK_MICROS: i64 = 1_000_000;
/// How often what is past its time is forgotten.
const RETAIN_MICROS: i64 = 60_000_000;

/// All that the loop joins.
pub struct Pipeline {
    /// Where records come from.
    pub journal: Arc<Journal>,
    /// The most space that the journal may take.
    pub journal_bytes_max: u64,
    /// Is told how far records are done.
    pub door: Arc<Door>,
    /// The detections.
    pub engine: Engine,
    /// Which deliveries have been seen.
    pub deliveries: Horizon,
    /// Which events have been seen.
    pub seen: Seen,
    /// Where rows go.
    pub hot: Arc<Hot>,
    /// Where findings go.
    pub store: Arc<Store>,
    /// Where unreadable bytes go.
    pub quarantine: Arc<Quarantine>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Processes records until the journal is closed and read to its end: first what an earlier
    /// run left, then what comes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn run(mut self) -> io::Result<()> {
        let mut decoder = Decoder::new();
        let replayed = self.journal.position();
        let mut next = self.journal.first();
        let mut ticked_at = 0;
        let mut retained_at = 0;
        loop {
            match self.journal.read(next, READ_BYTES, TICK)? {
                Read::Entries(entries) => {
                    self.process(&mut decoder, &entries)?;
                    next = entries.last().map_or(next, |entry| entry.position + 1);
                }
                Read::Nothing => {}
                Read::Closed => break,
            }
            self.door.processed(next);
            let now = now_micros();
            // While an earlier run's records are replayed, time is theirs.
            if next >= replayed && now >= ticked_at + TICK_MICROS {
                ticked_at = now;
                let outcome = self.engine.on_time(now);
                self.hand_on(&outcome, next);
            }
            if next >= replayed && now >= retained_at + RETAIN_MICROS {
                retained_at = now;
                if let Err(error) = self.store.retain(now) {
                    error!(error = format!("{error:?}"), "nothing forgotten");
                }
            }
        }
        self.store.close();
        Ok(())
    }

    fn process(&mut self, decoder: &mut Decoder, entries: &[Entry]) -> io::Result<()> {
        let mut rows = Rows::new();
        let mut from = entries.first().map_or(0, |entry| entry.position);
        let mut arrival = 0;
        for Entry { position, delivery: hash, record } in entries {
            arrival = arrival.max(record.received_at);
            if !self.deliveries.insert(*hash, record.received_at) {
                self.metrics.repeated(&record.cluster);
                continue;
            }
            let (source, format) = record.source.split_once(':').unwrap_or((&record.source, ""));
            decoder.set_format(format.parse().unwrap_or_default());
            let delivery = Delivery {
                cluster: &record.cluster,
                source,
                received_at: record.received_at,
                body: &record.body,
            };
            let mut quarantined = Vec::new();
            decoder.decode_in_parts(&delivery, &mut rows, &mut quarantined, |rows| {
                self.evaluate(&rows.finish(), from, *position, arrival);
                from = *position;
            });
            self.metrics.passed_over(&record.cluster, decoder.take_passed_over());
            self.set_aside(*hash, record.received_at, &quarantined);
        }
        let next = entries.last().map_or(0, |entry| entry.position + 1);
        self.evaluate(&rows.finish(), from, next, arrival);
        self.truncate(next)
    }

    /// Rows of records from `from` on, the last of which arrived at `arrival`; those below `next`
    /// are whole.
    fn evaluate(&mut self, arrived: &RecordBatch, from: Position, next: Position, arrival: i64) {
        let batch = match self.seen.keep_new(arrived, arrival) {
            Ok(batch) => batch,
            Err(error) => {
                error!(%error, "duplicates not told");
                arrived.clone()
            }
        };
        self.count(arrived, &batch);
        let given_up = self.hot.push(batch.clone(), from);
        let (hot_rows, hot_bytes) = self.hot.size();
        self.metrics.hot(hot_rows, hot_bytes, given_up);
        let outcome = self.engine.on_batch(&batch, arrival);
        debug!(events = batch.num_rows(), "batch processed");
        self.hand_on(&outcome, next);
    }

    /// The journal forgets what no row is held of, all of it below `next`; where it takes more
    /// space than it may, the oldest rows are given up for it.
    fn truncate(&self, next: Position) -> io::Result<()> {
        loop {
            self.journal.truncate(self.hot.oldest().unwrap_or(next).min(next))?;
            if self.journal.bytes() <= self.journal_bytes_max {
                return Ok(());
            }
            let given_up = self.hot.give_up();
            if given_up == 0 {
                return Ok(());
            }
            let (hot_rows, hot_bytes) = self.hot.size();
            self.metrics.hot(hot_rows, hot_bytes, given_up);
        }
    }

    fn set_aside(&self, delivery: u128, received_at: i64, pieces: &[Quarantined]) {
        for piece in pieces {
            let (cluster, reason) = (&piece.cluster, piece.reason.as_str());
            warn!(cluster, reason, bytes = piece.bytes.len(), "quarantined");
            self.metrics.quarantined(cluster, reason);
        }
        if let Err(error) = self.quarantine.keep(delivery, received_at, pieces) {
            error!(%error, pieces = pieces.len(), "quarantined pieces not kept");
            self.metrics.quarantine_failed(pieces.len());
        }
    }

    fn hand_on(&self, outcome: &Outcome, next: Position) {
        let step = Step { next, findings: &outcome.findings, ..Step::default() };
        let new = loop {
            match self.store.commit(&step) {
                Ok(new) => break new,
                Err(error) => {
                    // Findings are not lost for want of room: they wait, and with them the journal.
                    error!(error = format!("{error:?}"), "findings not stored, trying again");
                    std::thread::sleep(TICK);
                }
            }
        };
        for finding in new {
            self.metrics.finding(&finding.detection, finding.severity.as_str());
        }
        for fault in &outcome.faults {
            error!(detection = fault.detection, error = fault.message, "detection failed");
            self.metrics.fault(&fault.detection);
        }
        for (cluster, events) in &outcome.late {
            self.metrics.late(cluster, *events);
        }
        for (cluster, watermark) in self.engine.watermarks() {
            self.metrics.watermark(cluster, watermark);
        }
    }

    fn count(&self, arrived: &RecordBatch, kept: &RecordBatch) {
        let kept = events_by_cluster(kept);
        for (cluster, events) in events_by_cluster(arrived) {
            let new = kept.get(&cluster).copied().unwrap_or(0);
            self.metrics.events(&cluster, new);
            if events > new {
                self.metrics.duplicates(&cluster, events - new);
            }
        }
    }
}

fn events_by_cluster(batch: &RecordBatch) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let Some(column) = batch.column_by_name("cluster") else { return counts };
    let Some(column) = column.as_dictionary_opt::<Int32Type>() else { return counts };
    let names = column.values().as_string::<i32>();
    for key in column.keys().iter().flatten() {
        if let Some(name) = usize::try_from(key).ok().filter(|key| *key < names.len()) {
            match counts.get_mut(names.value(name)) {
                Some(count) => *count += 1,
                None => drop(counts.insert(names.value(name).to_owned(), 1)),
            }
        }
    }
    counts
}
