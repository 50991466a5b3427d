//! THE loop: next records -> decode -> rows and detections -> findings. Read this first.
//!
//! It runs on a thread of its own and is the only one that does: a cluster's events meet one
//! engine, in the order of the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use tracing::{debug, error, warn};

use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::engine::{Engine, Outcome};
use crate::event::Rows;
use crate::event::seen::Seen;
use crate::findings::quarantine::Quarantine;
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

/// All that the loop joins.
pub struct Pipeline {
    /// Where records come from.
    pub journal: Arc<Journal>,
    /// Gets its memory back when records are done.
    pub door: Arc<Door>,
    /// The detections.
    pub engine: Engine,
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
    /// Processes records until the journal is closed and read to its end.
    pub fn run(mut self) {
        let mut decoder = Decoder::new();
        let mut next: Position = 0;
        let mut ticked_at = 0;
        loop {
            match self.journal.read(next, READ_BYTES, TICK) {
                Read::Entries(entries) => {
                    self.process(&mut decoder, &entries);
                    next = entries.last().map_or(next, |entry| entry.position + 1);
                    self.journal.truncate(next);
                }
                Read::Nothing => {}
                Read::Closed => break,
            }
            self.door.release(next);
            let now = now_micros();
            if now >= ticked_at + TICK_MICROS {
                ticked_at = now;
                let outcome = self.engine.on_time(now);
                self.hand_on(&outcome);
            }
        }
        self.store.close();
    }

    fn process(&mut self, decoder: &mut Decoder, entries: &[Entry]) {
        let mut rows = Rows::new();
        let mut quarantined = Vec::new();
        for Entry { record, .. } in entries {
            let delivery = Delivery {
                cluster: &record.cluster,
                source: record.source,
                received_at: record.received_at,
                body: &record.body,
            };
            decoder.decode_in_parts(&delivery, &mut rows, &mut quarantined, |rows| {
                self.evaluate(&rows.finish());
            });
        }
        for piece in quarantined {
            self.set_aside(piece);
        }
        self.evaluate(&rows.finish());
    }

    fn evaluate(&mut self, arrived: &RecordBatch) {
        let now = now_micros();
        let batch = match self.seen.keep_new(arrived, now) {
            Ok(batch) => batch,
            Err(error) => {
                error!(%error, "duplicates not told");
                arrived.clone()
            }
        };
        self.count(arrived, &batch);
        let given_up = self.hot.push(batch.clone());
        let (hot_rows, hot_bytes) = self.hot.size();
        self.metrics.hot(hot_rows, hot_bytes, given_up);
        let outcome = self.engine.on_batch(&batch, now);
        debug!(events = batch.num_rows(), "batch processed");
        self.hand_on(&outcome);
    }

    fn set_aside(&self, piece: Quarantined) {
        let (cluster, reason) = (&piece.cluster, piece.reason.as_str());
        warn!(cluster, reason, bytes = piece.bytes.len(), "quarantined");
        self.metrics.quarantined(cluster, reason);
        self.quarantine.push(piece);
    }

    fn hand_on(&self, outcome: &Outcome) {
        for finding in self.store.upsert(&outcome.findings) {
            self.metrics.finding(&finding.detection, finding.severity);
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
