//! THE loop: next records -> decode -> rows and detections -> findings. Read this first.
//!
//! It runs on a thread of its own and is the only one that does: a cluster's events meet one
//! engine, in the order of the journal. What it knows is a function of what is kept: at start it
//! takes in the newest rows of the history again, then the records of the journal that history
//! does not have yet. Time is the records' arrival, not the clock.

mod owed;
mod past;
mod rebuilding;
mod seen;

use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::now_micros;
use crate::decode::{Decoder, Delivery, Quarantined};
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Beyond, Engine, EngineSettings, Outcome};
use crate::detect::in_use::InUse;
use crate::event::Rows;
use crate::event::seen::{Horizon, Seen};
use crate::fault::point;
use crate::findings::database::StoreError;
use crate::findings::quarantine::Quarantine;
use crate::findings::step::{ClusterSeen, LedgerKind};
use crate::findings::store::Store;
use crate::findings::tally::Tally;
use crate::history::error::HistoryError;
use crate::history::hot::Hot;
use crate::history::recall::Recall;
use crate::history::replay::Past;
use crate::ingest::accept::Door;
use crate::journal::{Entry, Journal, Position, Read};
use crate::metrics::Metrics;

pub use self::owed::Owed;
pub use self::past::Reload;
pub use self::rebuilding::Rebuilding;
use self::seen::seen_by_cluster;

/// How much is taken from the journal at once: enough rows to make evaluation worth its fixed
/// cost, little enough to keep findings quick.
const READ_BYTES: usize = 8 << 20;
/// How often time is looked at while nothing comes.
const TICK: Duration = Duration::from_secs(1);
const TICK_MICROS: i64 = 1_000_000;
/// For how long what history is still to be asked about is asked at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How often it is looked for what may be forgotten.
const RETAIN_MICROS: i64 = 60_000_000;

/// All that the loop joins.
pub struct Pipeline {
    /// Where records come from.
    pub journal: Arc<Journal>,
    /// Is told how far records are done.
    pub door: Arc<Door>,
    /// The detections, as they were loaded.
    pub catalog: Catalog,
    /// The detections at work.
    pub engine: Engine,
    /// How the engine runs.
    pub settings: EngineSettings,
    /// Detections to go on with instead.
    pub reloads: mpsc::Receiver<Reload>,
    /// Is told which detections run.
    pub in_use: Arc<InUse>,
    /// What is asked of the past.
    pub recall: Recall,
    /// What is still to be asked of it.
    pub owed: Owed,
    /// Detections that are to take over.
    pub rebuilding: Option<Box<Rebuilding>>,
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
    /// The process is to stop.
    pub stop: CancellationToken,
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
    /// How far an earlier run came cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pipeline {
    /// Ends without having run.
    pub fn close(self) {
        self.hot.close();
        self.store.close();
    }

    /// Processes records until the journal is closed and read to its end: first what an earlier
    /// run left, then what comes. `past` is what history has, all records below `written` with it.
    /// Ends early only when there is no room to go on and the process is to stop.
    ///
    /// # Errors
    /// When journal, history or findings cannot be read.
    pub fn run(mut self, past: &Past, written: Position) -> Result<(), PipelineError> {
        let counted = self.remember(past, written)?;
        let mut decoder = Decoder::new();
        let replayed = self.journal.position();
        let mut next = self.journal.first().max(written);
        let (mut ticked_at, mut retained_at) = (0, 0);
        'records: while self.wait_for_room() {
            let now = now_micros();
            // While an earlier run's records are replayed, time is theirs; then what they leave is
            // looked at before anything new comes.
            if next >= replayed && now >= ticked_at + TICK_MICROS {
                ticked_at = now;
                if !self.tick(now, next) {
                    break;
                }
            }
            if next >= replayed && now >= retained_at + RETAIN_MICROS {
                retained_at = now;
                self.retain(now);
            }
            let is_busy = ticked_at > 0 && self.is_busy();
            if is_busy && !self.catch_up(now, next) {
                break;
            }
            let wait = if is_busy { Duration::ZERO } else { TICK };
            match self.journal.read(next, READ_BYTES, wait)? {
                Read::Entries(entries) => {
                    // Steps of an earlier run and of this one do not overlap.
                    let at = |position| entries.partition_point(move |of| of.position < position);
                    let (at_counted, at_replayed) = (at(counted), at(replayed));
                    let (old, rest) = entries.split_at(at_counted);
                    let middle = at_replayed.saturating_sub(at_counted);
                    let (left, new) = rest.split_at(middle);
                    for (entries, counted) in [(old, true), (left, false), (new, false)] {
                        if let Some(last) = entries.last() {
                            let tally = self.process(&mut decoder, entries);
                            next = last.position + 1;
                            if !tally.is_some_and(|tally| self.commit(tally, next, counted)) {
                                break 'records;
                            }
                        }
                        if ticked_at == 0 && next >= replayed {
                            break;
                        }
                    }
                }
                Read::Nothing => {}
                Read::Closed => break,
            }
            self.hot.complete(next);
            self.door.processed(next);
        }
        // What is not answered by then is left to the next start.
        let end = Instant::now() + LAST_ANSWERS;
        while self.owed.is_busy() && Instant::now() < end && self.catch_up(now_micros(), next) {}
        self.close();
        Ok(())
    }

    /// Lets time pass; false when the process is to stop before what came of it is stored.
    fn tick(&mut self, now: i64, next: Position) -> bool {
        let mut tally = Tally::default();
        self.reload(now);
        let outcome = self.engine.on_time(now);
        self.note(outcome, now, &mut tally);
        self.tell_of_detections();
        self.commit(tally, next, false)
    }

    /// Whether something of the past is to be read now.
    fn is_busy(&self) -> bool {
        self.rebuilding.is_some() || self.owed.is_busy()
    }

    /// Reads on of the past for a moment; false when the process is to stop before what came of it
    /// is stored.
    fn catch_up(&mut self, now: i64, next: Position) -> bool {
        let mut tally = Tally::default();
        let is_rebuilt = self.rebuild(now, &mut tally);
        let is_answered = self.ask_again(now, &mut tally);
        let is_news = is_rebuilt || is_answered;
        !is_news || self.commit(tally, next, false)
    }

    /// False when the process is to stop and rows have nowhere to go.
    fn wait_for_room(&self) -> bool {
        let mut said = false;
        while !self.hot.wait_for_room(TICK) {
            if self.stop.is_cancelled() {
                return false;
            }
            if !said {
                warn!("rows wait for history: `[history] memory` is full");
                said = true;
            }
        }
        true
    }

    /// Decodes records and evaluates their rows; `None` when it cannot go on.
    fn process(&mut self, decoder: &mut Decoder, entries: &[Entry]) -> Option<Tally> {
        let mut rows = Rows::new();
        let mut tally = Tally::default();
        let mut arrival = 0;
        for Entry { delivery: hash, record, .. } in entries {
            arrival = arrival.max(record.received_at);
            if !self.deliveries.insert(*hash, record.received_at) {
                self.metrics.repeated(&record.cluster);
                tally.count(LedgerKind::Repeated, &record.cluster, "", record.received_at, 1);
                continue;
            }
            tally.deliveries.push((*hash, record.received_at));
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
                self.evaluate(&rows.finish(), arrival, &mut tally);
            });
            let passed_over = decoder.take_passed_over();
            self.metrics.passed_over(&record.cluster, passed_over);
            let (kind, at) = (LedgerKind::PassedOver, record.received_at);
            tally.count(kind, &record.cluster, source, at, passed_over as u64);
            self.set_aside(*hash, record.received_at, &quarantined, &mut tally)?;
        }
        self.evaluate(&rows.finish(), arrival, &mut tally);
        Some(tally)
    }

    /// Rows the last of which arrived at `arrival`.
    fn evaluate(&mut self, arrived: &RecordBatch, arrival: i64, tally: &mut Tally) {
        let batch = match self.seen.keep_new(arrived, arrival) {
            Ok(batch) => batch,
            Err(error) => {
                error!(%error, "duplicates not told");
                arrived.clone()
            }
        };
        self.count(arrived, &batch, arrival, tally);
        self.hot.push(batch.clone());
        let (hot_rows, hot_bytes) = self.hot.size();
        self.metrics.hot(hot_rows, hot_bytes);
        let outcome = self.engine.on_batch(&batch, arrival);
        if let Some(rebuilding) = &mut self.rebuilding {
            rebuilding.take_in(&batch, arrival);
        }
        debug!(events = batch.num_rows(), "batch processed");
        self.note(outcome, arrival, tally);
    }

    fn set_aside(
        &self,
        delivery: u128,
        received_at: i64,
        pieces: &[Quarantined],
        tally: &mut Tally,
    ) -> Option<()> {
        for piece in pieces {
            let (cluster, reason) = (&piece.cluster, piece.reason.as_str());
            warn!(cluster, reason, bytes = piece.bytes.len(), "quarantined");
            self.metrics.quarantined(cluster, reason);
            tally.count(LedgerKind::Quarantined, cluster, reason, received_at, 1);
        }
        self.insist("quarantined pieces not kept", || {
            self.quarantine.keep(delivery, received_at, pieces)
        })
    }

    /// Does what must not be left out, again and again while the disk does not let it; `None` when
    /// the process is to stop before it does.
    fn insist<T, E: Into<anyhow::Error>>(
        &self,
        failure: &str,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Option<T> {
        loop {
            match work() {
                Ok(done) => return Some(done),
                Err(error) => {
                    let (error, stopping) = (error.into(), self.stop.is_cancelled());
                    let then = if stopping { "left to the next start" } else { "trying again" };
                    error!(error = format!("{error:#}"), "{failure}, {then}");
                    if stopping {
                        return None;
                    }
                    std::thread::sleep(TICK);
                }
            }
        }
    }

    /// Notes what came of a call at a time.
    fn note(&mut self, outcome: Outcome, at: i64, tally: &mut Tally) {
        for fault in &outcome.faults {
            error!(detection = fault.detection, error = fault.message, "detection failed");
            self.metrics.fault(&fault.detection);
            tally.count(LedgerKind::Fault, "", &fault.detection, at, 1);
        }
        for (cluster, events) in &outcome.late {
            self.metrics.late(cluster, *events);
            tally.count(LedgerKind::Late, cluster, "", at, *events);
        }
        for (cluster, watermark) in self.engine.watermarks() {
            self.metrics.watermark(cluster, watermark);
        }
        for (exempt, events) in &outcome.exempted {
            self.metrics.exempted(&exempt.exception, *events);
            tally.count(LedgerKind::Exempted, &exempt.cluster, &exempt.exception, at, *events);
            let from = format!("{} {}", exempt.detection, exempt.exception);
            tally.count(LedgerKind::ExemptedFrom, &exempt.cluster, &from, at, *events);
        }
        for Beyond { cluster, detection, .. } in &outcome.beyond {
            tally.count(LedgerKind::Beyond, cluster, detection, at, 1);
        }
        self.owed.add(outcome.beyond);
        tally.findings.extend(outcome.findings);
    }

    /// Commits a step: findings are not lost for want of room, they wait, and with them the
    /// journal. False when the process is to stop before there is some.
    fn commit(&self, tally: Tally, next: Position, counted: bool) -> bool {
        point("step_evaluated");
        let new = tally.step(next, counted, &self.owed.spans(), |step| {
            self.insist("findings not stored", || self.store.commit(step))
        });
        point("step_committed");
        for finding in new.iter().flatten() {
            self.metrics.finding(&finding.detection, finding.severity.as_str());
        }
        new.is_some()
    }

    fn retain(&self, now: i64) {
        let deliveries = now.saturating_sub(self.deliveries.span());
        let forgotten = self.store.retain(now);
        if let Err(error) = forgotten.and_then(|()| self.store.forget_deliveries(deliveries)) {
            error!(error = format!("{:#}", anyhow::Error::from(error)), "nothing forgotten");
        }
    }

    fn count(&self, arrived: &RecordBatch, kept: &RecordBatch, arrival: i64, tally: &mut Tally) {
        let new = seen_by_cluster(kept);
        for (cluster, all) in seen_by_cluster(arrived) {
            let new = new.get(&cluster).copied().unwrap_or_default();
            let duplicates = all.events - new.events;
            self.metrics.events(&cluster, new.events);
            if duplicates > 0 {
                self.metrics.duplicates(&cluster, duplicates);
            }
            tally.count(LedgerKind::Duplicate, &cluster, "", arrival, duplicates as u64);
            tally.count(LedgerKind::Conflict, &cluster, "", arrival, new.conflicts as u64);
            tally.see(ClusterSeen {
                cluster,
                last_event: all.last_event,
                last_arrival: arrival,
                events: new.events as u64,
                duplicates: duplicates as u64,
            });
        }
    }
}
