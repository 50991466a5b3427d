//! What the loop takes of the past: at start, for detections that change, and for events that come
//! later than anything is held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tracing::{error, info, warn};

use super::owed::{Answer, Asked};
use super::rebuilding::Rebuilding;
use super::{Pipeline, PipelineError};
use crate::clock::now_micros;
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Beyond, Engine, LongMemory};
use crate::detect::finding::{Finding, Status};
use crate::detect::value::Value;
use crate::event::lookback::Lookback;
use crate::findings::step::LedgerKind;
use crate::findings::tally::Tally;
use crate::history::error::HistoryError;
use crate::history::replay::Past;
use crate::journal::Position;

/// For how long at once the past is read while there may be something new.
const SLICE: Duration = Duration::from_millis(20);
/// Columns that tell repeats and conflicts.
const SEEN_BY: [&str; 2] = ["audit_id", "stage"];

/// Detections to go on with.
pub struct Reload {
    /// As they were loaded.
    pub catalog: Catalog,
    /// As they are planned; it has seen no rows.
    pub engine: Engine,
}

impl Pipeline {
    /// Takes in what open windows, open findings and the horizons of repeats are made of; gives
    /// the position below which all has been counted.
    pub(super) fn remember(
        &mut self,
        past: &Past,
        written: Position,
    ) -> Result<Position, PipelineError> {
        let counted = self.store.position()?;
        self.owed.add(self.store.owed()?);
        if let Some(last) = past.last_arrival() {
            let lookback = self.looks_back(past, last);
            let (engine, seen) = (&mut self.engine, &mut self.seen);
            let begun = Instant::now();
            let mut wanted = engine.columns(None);
            let read = wanted.len();
            wanted.extend(SEEN_BY.map(str::to_owned));
            let rows = past.replay(&lookback, &wanted, |rows, arrival| {
                // None of them is a repeat: the history has each once.
                if let Err(error) = seen.keep_new(rows, arrival) {
                    error!(%error, "repeats of old events may not be told");
                }
                engine.on_batch(rows, arrival);
            })?;
            if !past.begins_after(lookback.since) {
                engine.remembered(lookback.clone());
            }
            self.recall_keys(&lookback)?;
            let took_ms = begun.elapsed().as_millis();
            info!(rows, columns = read, took_ms, "detections remember");
        }
        let since = now_micros().saturating_sub(self.deliveries.span());
        for (hash, arrival) in self.store.deliveries_since(since, written)? {
            self.deliveries.insert(hash, arrival);
        }
        Ok(counted)
    }

    /// What of the past they need; `last` is when the last of it arrived.
    fn looks_back(&self, past: &Past, last: i64) -> Lookback {
        let watermarks = past.latest().into_iter().map(|(cluster, (latest, arrived))| {
            (cluster, self.settings.patience.watermark(latest, arrived, last))
        });
        self.engine.looks_back(None, last, watermarks)
    }

    /// Tells detections of what is new which keys were seen before what they took in, and how far
    /// back the past reaches.
    fn recall_keys(&mut self, taken: &Lookback) -> Result<(), HistoryError> {
        let memories = self.engine.long_memories();
        if memories.is_empty() {
            return Ok(());
        }
        let engine = &mut self.engine;
        self.recall.earliest()?.each(|rows| recall_start(engine, rows))?;
        for memory in memories {
            let LongMemory { conditions, key, lookback, .. } = &memory;
            let keys = self.recall.keys(conditions, key, *lookback, taken)?;
            keys.each(|rows| engine.recall_rows(&memory, rows))?;
        }
        Ok(())
    }

    /// Begins to go on with other detections, if there are any: those that changed are made of the
    /// past again first, beside those that run. The last to come is the one that counts.
    pub(super) fn reload(&mut self, now: i64) {
        let Some(Reload { catalog, engine }) = self.reloads.try_iter().last() else { return };
        let begun = Rebuilding::begin(&self.engine, (catalog, engine), &self.recall, now);
        let rebuilding = begun.unwrap_or_else(|(error, rebuilding)| {
            without_past(error, &rebuilding.new);
            rebuilding
        });
        self.rebuilding = Some(rebuilding);
    }

    /// Reads on for detections that changed; when they have caught up they take over: then it is
    /// true.
    pub(super) fn rebuild(&mut self, now: i64, tally: &mut Tally) -> bool {
        let Some(rebuilding) = &mut self.rebuilding else { return false };
        match rebuilding.go_on(&self.recall, now, SLICE) {
            Ok(false) => return false,
            Ok(true) => {}
            Err(error) => without_past(error, &rebuilding.new),
        }
        let Some(mut rebuilt) = self.rebuilding.take() else { return false };
        let (outcome, took) = rebuilt.outcome();
        let Rebuilding { catalog, engine, new, rows, .. } = *rebuilt;
        self.engine.take_over(engine);
        let gone = self.catalog.detections().filter(|of| catalog.get(&of.id).is_none());
        let gone: Vec<String> = gone.map(|detection| detection.id.clone()).collect();
        self.in_use.look(|loaded| {
            for id in &gone {
                let clusters = loaded.learned.get(id).into_iter().flat_map(BTreeMap::keys);
                self.metrics.detection_gone(id, clusters);
            }
        });
        self.catalog = catalog;
        // Who reads what others find reads what these found of the past.
        let read = self.engine.found_elsewhere(&outcome.findings, now);
        self.note(outcome, now, tally);
        self.note(read, now, tally);
        let (took_ms, held_ms) = (took.all.as_millis(), took.held.as_millis());
        let held_ms_max = took.held_max.as_millis();
        info!(
            changed = ?new, ?gone, rows, took_ms, held_ms, held_ms_max,
            "detections loaded again"
        );
        self.in_use.run(self.catalog.clone(), owned(self.engine.classes()));
        self.metrics.detections_reloaded("taken");
        true
    }

    /// Says what detections cost, keep and know.
    pub(super) fn tell_of_detections(&self) {
        let lacking = self.catalog.lacking().count();
        let off = self.catalog.disabled().count().saturating_sub(lacking);
        self.metrics.detections(self.catalog.detections().count(), off, lacking);
        let mut costs = BTreeMap::new();
        for (detection, cost) in self.engine.costs() {
            let (work, kept) = ((cost.rows, cost.nanos), (cost.bytes, cost.keys));
            self.metrics.detection(detection, work, kept);
            costs.insert(detection.to_owned(), cost);
        }
        self.in_use.spend(costs);
        let mut learned: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for (detection, cluster, share) in self.engine.learning() {
            self.metrics.detection_learned(detection, cluster, share);
            let of = learned.entry(detection.to_owned()).or_default();
            of.insert(cluster.to_owned(), share);
        }
        self.in_use.learn(learned);
    }

    /// Asks history on about buckets that are forgotten and that events came for; true when there
    /// is an answer. What cannot be asked now is asked again.
    pub(super) fn ask_again(&mut self, at: i64, tally: &mut Tally) -> bool {
        let Self { owed, catalog, settings, engine, recall, .. } = self;
        match owed.ask(&Asked { catalog, settings: *settings, engine, recall }, SLICE) {
            Answer::NotYet => return false,
            Answer::Findings(mut findings) => {
                findings.retain(|finding| finding.status == Status::Open || self.is_told(finding));
                let outcome = self.engine.found_elsewhere(&findings, at);
                tally.findings.extend(findings);
                self.note(outcome, at, tally);
            }
            Answer::Unread(cluster, error) => {
                warn!(%error, cluster, "history not asked about late events, trying again");
            }
            Answer::Failed(asked, error) => {
                for Beyond { cluster, detection, .. } in asked {
                    error!(detection, cluster, error, "late events not judged");
                    self.metrics.fault(&detection);
                    tally.count(LedgerKind::Fault, &cluster, &detection, at, 1);
                }
            }
        }
        true
    }

    /// Whether a finding was told of, as far as that can be known.
    fn is_told(&self, finding: &Finding) -> bool {
        !matches!(self.store.get(&finding.id), Ok(None))
    }
}

/// Detections cannot be made of the past.
fn without_past(error: HistoryError, detections: &BTreeSet<String>) {
    let error = format!("{:#}", anyhow::Error::from(error));
    error!(error, ?detections, "detections that changed begin without the past");
}

/// Tells an engine when clusters begin, of an answer to [`Recall::earliest`].
///
/// [`Recall::earliest`]: crate::history::recall::Recall::earliest
pub(super) fn recall_start(engine: &mut Engine, rows: &RecordBatch) {
    for row in 0..rows.num_rows() {
        if let [Value::Text(cluster), Value::Int(first)] = Value::row(rows, row).as_slice() {
            engine.reaches(cluster, *first);
        }
    }
}

/// How each detection runs, by its id.
fn owned<'a>(
    classes: impl Iterator<Item = (&'a str, &'static str)>,
) -> BTreeMap<String, &'static str> {
    classes.map(|(id, class)| (id.to_owned(), class)).collect()
}
