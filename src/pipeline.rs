//! THE loop: next records -> decode -> rows and detections -> findings. Read this first.
//!
//! It runs on a thread of its own and is the only one that does: a cluster's events meet one
//! engine, in the order of the journal. What it knows is a function of what is kept: at start it
//! takes in the newest rows of the history again, then the records of the journal that history
//! does not have yet. Time is the records' arrival, not the clock.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::engine::{Engine, Outcome};
use crate::detect::finding::Finding;
use crate::event::Rows;
use crate::event::seen::{Horizon, Seen};
use crate::findings::quarantine::Quarantine;
use crate::findings::store::Store;
use crate::history::error::HistoryError;
use crate::history::hot::Hot;
use crate::history::replay::Past;
use crate::ingest::accept::Door;
use crate::journal::{Entry, Journal, Position, Read};
use crate::metrics::Metrics;

/// How much is taken from the journal at once: enough rows to make evaluation worth its fixed
/// cost, little enough to keep findings quick.
const READ_BYTES: usize = 8 << 20;
/// How often time is looked at while nothing comes.
const TICK: Duration = Duration::from_secs(1);
const TICK_MICROS: i64 = 1_000_000;

/// All that the loop joins.
pub struct Pipeline {
    /// Where records come from.
    pub journal: Arc<Journal>,
    /// Is told how far records are done.
    pub door: Arc<Door>,
    /// The detections.
    pub engine: Engine,
    /// Which deliveries have been seen.
    pub deliveries: Horizon,
    /// Which events have been seen.
    pub seen: Seen,
    /// What history has, and up to which record.
    pub past: Past,
    /// All records below are in history.
    pub written: Position,
    /// Where rows go.
    pub hot: Arc<Hot>,
    /// Where findings go.
    pub store: Arc<Store>,
    /// Where unreadable bytes go.
    pub quarantine: Arc<Quarantine>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The journal cannot be read.
    #[error("read the journal")]
    Journal(#[from] io::Error),
    /// What detections need of the past cannot be read.
    #[error("read history")]
    History(#[from] HistoryError),
}

impl Pipeline {
    /// Processes records until the journal is closed and read to its end: first what an earlier
    /// run left, then what comes. `stop` ends it early only when rows have nowhere to go.
    ///
    /// # Errors
    /// When journal or history cannot be read.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), PipelineError> {
        self.remember()?;
        let mut decoder = Decoder::new();
        let replayed = self.journal.position();
        let mut next = self.journal.first().max(self.written);
        // What an earlier run found is found again, a little at a time: only the end is news.
        let mut again = BTreeMap::new();
        let mut ticked_at = 0;
        while self.wait_for_room(stop) {
            match self.journal.read(next, READ_BYTES, TICK)? {
                Read::Entries(entries) => {
                    let outcomes = self.process(&mut decoder, &entries);
                    next = entries.last().map_or(next, |entry| entry.position + 1);
                    if next < replayed {
                        again.extend(outcomes.into_iter().map(|found| (found.id.clone(), found)));
                    } else {
                        let before = std::mem::take(&mut again).into_values();
                        self.hand_on(before.chain(outcomes).collect());
                    }
                }
                Read::Nothing => {}
                Read::Closed => break,
            }
            self.hot.complete(next);
            self.door.processed(next);
            let now = now_micros();
            // While an earlier run's records are replayed, time is theirs.
            if next >= replayed && now >= ticked_at + TICK_MICROS {
                ticked_at = now;
                let outcome = self.engine.on_time(now);
                let found = self.note(outcome);
                self.hand_on(found);
            }
        }
        self.hot.close();
        self.store.close();
        Ok(())
    }

    /// Takes in the rows that open windows, open findings and the horizon of repeats are made of.
    fn remember(&mut self) -> Result<(), PipelineError> {
        let Some(last) = self.past.last_arrival() else { return Ok(()) };
        let since = last.saturating_sub(self.engine.lookback());
        let (engine, seen) = (&mut self.engine, &mut self.seen);
        let rows = self.past.replay(since, |rows, arrival| {
            // None of them is a repeat: the history has each once.
            if let Err(error) = seen.keep_new(rows, arrival) {
                error!(%error, "repeats of old events may not be told");
            }
            engine.on_batch(rows, arrival);
        })?;
        info!(rows, "detections remember");
        Ok(())
    }

    /// False when the process is to stop and rows have nowhere to go.
    fn wait_for_room(&self, stop: &CancellationToken) -> bool {
        let mut said = false;
        while !self.hot.wait_for_room(TICK) {
            if stop.is_cancelled() {
                return false;
            }
            if !said {
                warn!("rows wait for history: `[history] memory` is full");
                said = true;
            }
        }
        true
    }

    /// Decodes records and evaluates their rows; gives what was found.
    fn process(&mut self, decoder: &mut Decoder, entries: &[Entry]) -> Vec<Finding> {
        let mut rows = Rows::new();
        let mut found = Vec::new();
        let mut arrival = 0;
        for Entry { delivery: hash, record, .. } in entries {
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
                found.extend(self.evaluate(&rows.finish(), arrival));
            });
            self.metrics.passed_over(&record.cluster, decoder.take_passed_over());
            self.set_aside(*hash, record.received_at, &quarantined);
        }
        found.extend(self.evaluate(&rows.finish(), arrival));
        found
    }

    /// Rows the last of which arrived at `arrival`.
    fn evaluate(&mut self, arrived: &RecordBatch, arrival: i64) -> Vec<Finding> {
        let batch = match self.seen.keep_new(arrived, arrival) {
            Ok(batch) => batch,
            Err(error) => {
                error!(%error, "duplicates not told");
                arrived.clone()
            }
        };
        self.count(arrived, &batch);
        self.hot.push(batch.clone());
        let (hot_rows, hot_bytes) = self.hot.size();
        self.metrics.hot(hot_rows, hot_bytes);
        let outcome = self.engine.on_batch(&batch, arrival);
        debug!(events = batch.num_rows(), "batch processed");
        self.note(outcome)
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

    /// Counts what came of a call; gives the findings.
    fn note(&self, outcome: Outcome) -> Vec<Finding> {
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
        outcome.findings
    }

    fn hand_on(&self, findings: Vec<Finding>) {
        for finding in self.store.upsert(&findings) {
            self.metrics.finding(&finding.detection, finding.severity);
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
