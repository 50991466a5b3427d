//! What the loop takes of the past: at start, for detections that change, and for events that come
//! later than anything is held.

use std::collections::BTreeSet;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use tracing::{error, info, warn};

use super::{Pipeline, PipelineError};
use crate::clock::now_micros;
use crate::detect::again::Again;
use crate::detect::engine::Beyond;
use crate::detect::finding::Finding;
use crate::detect::memory::{LongMemory, Seen};
use crate::detect::value::Value;
use crate::findings::step::LedgerKind;
use crate::findings::tally::Tally;
use crate::history::error::HistoryError;
use crate::history::replay::Past;
use crate::journal::Position;

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
                if let (Value::Text(cluster), Some(first)) =
                    (cell(rows, "cluster", row), micros(rows, "first", row))
                {
                    engine.reaches(&cluster, first);
                }
            }
        })?;
        for memory in memories {
            let span = (until.saturating_sub(memory.lookback), until);
            self.recall.keys(&memory.conditions, &memory.key, span, |rows| {
                for row in 0..rows.num_rows() {
                    let key = (0..memory.key.len()).map(|at| cell(rows, &format!("key_{at}"), row));
                    let (key, first, last) =
                        (key.collect(), micros(rows, "first", row), micros(rows, "last", row));
                    if let (Value::Text(cluster), Some(first), Some(last)) =
                        (cell(rows, "cluster", row), first, last)
                    {
                        engine.recall(&memory, &cluster, &Seen { key, first, last });
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Goes on with other detections, if there are any; those that changed are made of the past
    /// again.
    pub(super) fn reload(&mut self, now: i64, tally: &mut Tally) {
        let Some(catalog) = self.reloads.try_iter().last() else { return };
        let new = match self.engine.reload(&catalog) {
            Ok(new) => new,
            Err(errors) => {
                for error in errors {
                    error!(error = %error, "detections stay as they were");
                }
                return;
            }
        };
        self.catalog = catalog;
        let since = now.saturating_sub(self.engine.lookback());
        let mut outcomes = Vec::new();
        let engine = &mut self.engine;
        let rebuilt =
            self.recall.arrived(since, |rows| outcomes.push(engine.rebuild(&new, rows, now)));
        let rebuilt = rebuilt.and_then(|rows| {
            self.recall_keys(since, |memory| new.contains(&memory.detection)).map(|()| rows)
        });
        for outcome in outcomes {
            self.note(outcome, now, tally);
        }
        match rebuilt {
            Ok(rows) => info!(detections = ?new, rows, "detections changed"),
            Err(error) => {
                error!(error = format!("{:#}", anyhow::Error::from(error)), detections = ?new,
                    "detections that changed begin without the past");
            }
        }
    }

    /// Asks history about buckets that are forgotten and that events came for, now and then: many
    /// events that are late are late for the same buckets. What cannot be asked now is asked again.
    pub(super) fn ask_again(&mut self, at: i64, tally: &mut Tally) {
        for beyond in joined(std::mem::take(&mut self.owed)) {
            tally.count(LedgerKind::Beyond, &beyond.cluster, &beyond.detection, at, 1);
            match self.again(&beyond) {
                Ok(findings) => tally.findings.extend(findings),
                Err(error) => {
                    let (detection, cluster) = (&beyond.detection, &beyond.cluster);
                    warn!(%error, detection, cluster, "history not asked about late events");
                    self.owed.insert(beyond);
                }
            }
        }
    }

    fn again(&self, beyond: &Beyond) -> anyhow::Result<Vec<Finding>> {
        let again = Again::new(&self.catalog, self.settings, beyond.clone());
        let again = again.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let Some(mut again) = again else { return Ok(Vec::new()) };
        self.recall.between(&beyond.cluster, again.span(), |rows| again.take_in(rows))?;
        again.findings().map_err(anyhow::Error::msg)
    }
}

/// Stretches of the same cluster and detection that meet, as one.
fn joined(owed: BTreeSet<Beyond>) -> Vec<Beyond> {
    let mut joined: Vec<Beyond> = Vec::with_capacity(owed.len());
    for beyond in owed {
        match joined.last_mut() {
            Some(last)
                if (&last.cluster, &last.detection) == (&beyond.cluster, &beyond.detection)
                    && beyond.from <= last.to =>
            {
                last.to = last.to.max(beyond.to);
            }
            _ => joined.push(beyond),
        }
    }
    joined
}

fn cell(rows: &RecordBatch, name: &str, row: usize) -> Value {
    rows.column_by_name(name).map_or(Value::Null, |column| Value::at(column, row))
}

fn micros(rows: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = rows.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
    column.values().get(row).copied()
}
