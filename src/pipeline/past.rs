//! What the loop takes of the past: at start, for detections that change, and for events that come
//! later than anything is held.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use super::{Pipeline, PipelineError};
use crate::clock::now_micros;
use crate::detect::again::{Again, parted};
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Beyond, Engine, LongMemory, Outcome, Seen};
use crate::detect::finding::Finding;
use crate::detect::value::Value;
use crate::findings::tally::Tally;
use crate::history::error::HistoryError;
use crate::history::replay::Past;
use crate::journal::Position;

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
        if let Some(last) = past.last_arrival() {
            let since = last.saturating_sub(self.engine.lookback());
            let (engine, seen) = (&mut self.engine, &mut self.seen);
            let rows = past.replay(since, |rows, arrival| {
                // None of them is a repeat: the history has each once.
                if let Err(error) = seen.keep_new(rows, arrival) {
                    error!(%error, "repeats of old events may not be told");
                }
                engine.on_batch(rows, arrival);
            })?;
            if !past.begins_after(since) {
                engine.remembered(since);
            }
            self.recall_keys(since, |_| true)?;
            info!(rows, "detections remember");
        }
        let since = now_micros().saturating_sub(self.deliveries.span());
        for (hash, arrival) in self.store.deliveries_since(since, written)? {
            self.deliveries.insert(hash, arrival);
        }
        Ok(counted)
    }

    /// Tells detections of what is new which keys were seen before `until`, and how far back the
    /// past reaches.
    fn recall_keys(
        &mut self,
        until: i64,
        wanted: impl Fn(&LongMemory) -> bool,
    ) -> Result<(), HistoryError> {
        let memories = self.engine.long_memories();
        let memories: Vec<_> = memories.into_iter().filter(wanted).collect();
        if memories.is_empty() {
            return Ok(());
        }
        let engine = &mut self.engine;
        self.recall.earliest(|rows| {
            for row in 0..rows.num_rows() {
                if let [Value::Text(cluster), Value::Int(first)] = Value::row(rows, row).as_slice()
                {
                    engine.reaches(cluster, *first);
                }
            }
        })?;
        for memory in memories {
            let span = (until.saturating_sub(memory.lookback), until);
            self.recall.keys(&memory.conditions, &memory.key, span, |rows| {
                for row in 0..rows.num_rows() {
                    if let [Value::Text(cluster), key @ .., Value::Int(first), Value::Int(last)] =
                        Value::row(rows, row).as_slice()
                    {
                        let seen = Seen { key: key.to_vec(), first: *first, last: *last };
                        engine.recall(&memory, cluster, &seen);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Goes on with other detections, if there are any; those that changed are made of the past
    /// again.
    pub(super) fn reload(&mut self, now: i64, tally: &mut Tally) {
        let Some(Reload { catalog, engine }) = self.reloads.try_iter().last() else { return };
        let new = self.engine.take_over(engine);
        let gone = self.catalog.detections().filter(|of| catalog.get(&of.id).is_none());
        let gone: Vec<String> = gone.map(|detection| detection.id.clone()).collect();
        self.in_use.look(|loaded| {
            for id in &gone {
                let clusters = loaded.learned.get(id).into_iter().flat_map(BTreeMap::keys);
                self.metrics.detection_gone(id, clusters);
            }
        });
        self.catalog = catalog;
        match self.rebuild(&new, now, tally) {
            Ok(rows) => info!(changed = ?new, ?gone, rows, "detections loaded again"),
            Err(error) => {
                error!(error = format!("{:#}", anyhow::Error::from(error)), detections = ?new,
                    "detections that changed begin without the past");
            }
        }
        self.in_use.run(self.catalog.clone(), owned(self.engine.classes()));
        self.metrics.detections_reloaded("taken");
    }

    /// Makes detections of what came lately, and of what is there to be read again.
    fn rebuild(
        &mut self,
        new: &BTreeSet<String>,
        now: i64,
        tally: &mut Tally,
    ) -> Result<u64, HistoryError> {
        if new.is_empty() {
            return Ok(0);
        }
        let since = now.saturating_sub(self.engine.lookback_of(new));
        if self.recall.any_before(since)? {
            self.engine.rebuilt_from(new, since);
        }
        let mut outcome = Outcome::default();
        // The last word on each.
        let mut said = BTreeMap::new();
        let engine = &mut self.engine;
        let rows = self.recall.arrived(since, |rows| {
            let Outcome { findings, faults, .. } = engine.rebuild(new, rows, now);
            said.extend(findings.into_iter().map(|finding| (finding.id.clone(), finding)));
            outcome.faults.extend(faults);
        });
        outcome.findings = said.into_values().collect();
        self.note(outcome, now, tally);
        let rows = rows?;
        self.recall_keys(since, |memory| new.contains(&memory.detection))?;
        Ok(rows)
    }

    /// Says what detections cost, keep and know.
    pub(super) fn tell_of_detections(&self) {
        let lacking = self.catalog.lacking().count();
        let off = self.catalog.disabled().count().saturating_sub(lacking);
        self.metrics.detections(self.catalog.detections().count(), off, lacking);
        for (detection, cost) in self.engine.costs() {
            let (work, kept) = ((cost.rows, cost.nanos), (cost.bytes, cost.keys));
            self.metrics.detection(detection, work, kept);
        }
        let mut learned: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for (detection, cluster, share) in self.engine.learning() {
            self.metrics.detection_learned(detection, cluster, share);
            let of = learned.entry(detection.to_owned()).or_default();
            of.insert(cluster.to_owned(), share);
        }
        self.in_use.learn(learned);
    }

    /// Asks history about buckets that are forgotten and that events came for, now and then: many
    /// events that are late are late for the same buckets. What cannot be asked now is asked again.
    pub(super) fn ask_again(&mut self, at: i64, tally: &mut Tally) {
        for asked in parted(std::mem::take(&mut self.owed)) {
            match self.again(&asked) {
                Ok(findings) => {
                    let outcome = self.engine.found_elsewhere(&findings, at);
                    tally.findings.extend(findings);
                    self.note(outcome, at, tally);
                }
                Err(error) => {
                    let cluster = asked.first().map_or("", |beyond| beyond.cluster.as_str());
                    warn!(%error, cluster, "history not asked about late events, trying again");
                    self.owed.extend(asked);
                }
            }
        }
    }

    fn again(&self, asked: &[Beyond]) -> anyhow::Result<Vec<Finding>> {
        let again = Again::new(&self.catalog, self.settings, asked);
        let again = again.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let (Some(mut again), Some(beyond)) = (again, asked.first()) else {
            return Ok(Vec::new());
        };
        let (cluster, span, arrived) = (&beyond.cluster, again.span(), again.arrived());
        self.recall.between(cluster, span, (arrived, i64::MAX), |rows| again.take_late(rows))?;
        self.recall.between(cluster, span, (i64::MIN, arrived), |rows| again.take_in(rows))?;
        again.findings().map_err(anyhow::Error::msg)
    }
}

/// How each detection runs, by its id.
fn owned<'a>(
    classes: impl Iterator<Item = (&'a str, &'static str)>,
) -> BTreeMap<String, &'static str> {
    classes.map(|(id, class)| (id.to_owned(), class)).collect()
}
