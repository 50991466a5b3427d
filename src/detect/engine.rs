//! Drives the detections: rows of events in, findings that changed out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int32Type;
use datafusion::error::{DataFusionError, Result};
use tokio::runtime::{Builder, Runtime};

use super::catalog::Catalog;
use super::detection::{Detection, LoadError};
use super::finding::Finding;
use super::per_event::{self, PerEvent};
use super::plan::{Execution, plan};
use super::requery::{self, Ask, Requery};
use super::rows::event_times;
use super::watermark::{Patience, Watermark};

/// When windows are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As events come: findings must not wait.
    Live,
    /// Once, in [`Engine::finish`]: the input ends by itself.
    Replay,
}

/// How an engine runs. None of it changes what is found.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// When windows are asked.
    pub pace: Pace,
    /// When windows close.
    pub patience: Patience,
    /// How long rows and findings that are over are held for late events, microseconds of
    /// arrival.
    pub hold: i64,
    /// The most bytes that one detection buffers for one cluster; beyond, its oldest rows go and
    /// its findings are marked incomplete.
    pub buffer_bytes_max: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            pace: Pace::Live,
            patience: Patience::default(),
            hold: 3_600_000_000,
            buffer_bytes_max: 256 << 20,
        }
    }
}

/// A detection could not evaluate a batch; its findings may miss these events.
#[derive(Debug)]
pub struct Fault {
    /// Id of the detection.
    pub detection: String,
    /// What went wrong.
    pub message: String,
}

/// What came of a call.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Findings that are new or changed, in a fixed order.
    pub findings: Vec<Finding>,
    /// Detections that failed on this input.
    pub faults: Vec<Fault>,
    /// Events that came after their windows had closed (and re-opened them), by cluster.
    pub late: BTreeMap<String, u64>,
}

/// All detections with their state. Not for use inside an async runtime: it has one of its own,
/// on the caller's thread.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    settings: EngineSettings,
    per_event: Vec<PerEvent>,
    requery: Vec<Requery>,
    clusters: BTreeMap<String, Cluster>,
}

#[derive(Debug)]
struct Cluster {
    watermark: Watermark,
    per_event: Vec<per_event::State>,
    requery: Vec<requery::State>,
}

impl Engine {
    /// Plans every detection of the catalogue.
    ///
    /// # Errors
    /// All detections that cannot be planned, each with file, line and hint.
    pub fn new(catalog: &Catalog, settings: EngineSettings) -> Result<Self, Vec<LoadError>> {
        let runtime = Builder::new_current_thread().build().map_err(|error| {
            let message = format!("start the engine's runtime: {error}");
            vec![LoadError { path: "auditmill".into(), line: None, message, hint: None }]
        })?;
        let (mut per_event, mut requery, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for detection in catalog.detections() {
            match runtime.block_on(plan(detection)) {
                Ok(Execution::PerEvent(execution)) => per_event.push(execution),
                Ok(Execution::Requery(execution)) => requery.push(execution),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Self { runtime, settings, per_event, requery, clusters: BTreeMap::new() })
        } else {
            Err(errors)
        }
    }

    /// Takes in new rows of the events table, none of them seen before; `now` is the wall clock
    /// in microseconds.
    pub fn on_batch(&mut self, batch: &RecordBatch, now: i64) -> Outcome {
        let mut outcome = Outcome::default();
        match by_cluster(batch) {
            Ok(parts) => {
                for (cluster, rows) in parts {
                    let taken = self.on_cluster_batch(&cluster, &rows, now, &mut outcome);
                    outcome.faults.extend(taken.err().map(|error| fault("*", &error)));
                }
            }
            Err(error) => outcome.faults.push(fault("*", &error)),
        }
        outcome
    }

    /// Lets time pass: closes the windows that are over and forgets what no one can need.
    pub fn on_time(&mut self, now: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let Self { runtime, settings, per_event, requery, clusters } = self;
        for (name, cluster) in clusters {
            let watermark = cluster.watermark.advance(now);
            if settings.pace == Pace::Live {
                let ask = Ask::Ripe { watermark };
                evaluate(runtime, requery, cluster, name, ask, now, &mut outcome);
            }
            let since = now.saturating_sub(settings.hold);
            for (execution, state) in per_event.iter().zip(&mut cluster.per_event) {
                execution.forget(state, watermark, since);
            }
            for (execution, state) in requery.iter().zip(&mut cluster.requery) {
                execution.forget(state, watermark, since, settings.buffer_bytes_max);
            }
        }
        outcome
    }

    /// The input has ended: asks every window that is still to be asked.
    pub fn finish(&mut self, now: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let Self { runtime, requery, clusters, .. } = self;
        for (name, cluster) in clusters {
            evaluate(runtime, requery, cluster, name, Ask::All, now, &mut outcome);
        }
        outcome
    }

    /// Forgets every event, as if none had come: for the next of many short inputs.
    pub fn clear(&mut self) {
        self.clusters.clear();
    }

    /// How far back in arrival the events lie of which the state at any moment is made,
    /// microseconds: of open buckets and windows, and of those that are held for late events.
    pub fn lookback(&self) -> i64 {
        let per_event = self.per_event.iter().map(PerEvent::detection);
        let detections = per_event.chain(self.requery.iter().map(Requery::detection));
        let span = |detection: &Arc<Detection>| {
            detection.dedup.saturating_add(detection.window.map_or(0, |window| window.length))
        };
        let Patience { lateness, skew, idle_after } = self.settings.patience;
        let slack = lateness.saturating_add(skew).saturating_add(idle_after);
        let held = self.settings.hold.saturating_add(slack);
        detections.map(span).max().unwrap_or(0).saturating_add(held)
    }

    /// Watermark of each cluster in microseconds, as far as it was last advanced.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster.watermark.reached()))
    }

    fn on_cluster_batch(
        &mut self,
        name: &str,
        rows: &RecordBatch,
        now: i64,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let times = event_times(rows)?;
        let Self { runtime, settings, per_event, requery, clusters } = self;
        let cluster = clusters.entry(name.to_owned()).or_insert_with(|| Cluster {
            watermark: Watermark::new(settings.patience),
            per_event: per_event.iter().map(|_| per_event::State::default()).collect(),
            requery: requery.iter().map(Requery::state).collect(),
        });
        let watermark = cluster.watermark.reached();
        let late = times.iter().filter(|time| **time < watermark).count() as u64;
        if late > 0 {
            outcome.late.insert(name.to_owned(), late);
        }
        cluster.watermark.observe(times.iter().copied().max().unwrap_or(i64::MIN), now);
        let watermark = cluster.watermark.advance(now);
        for (execution, state) in per_event.iter().zip(&mut cluster.per_event) {
            match run(runtime, execution.on_batch(state, name, rows, now)) {
                Ok(findings) => outcome.findings.extend(findings),
                Err(error) => outcome.faults.push(fault(&execution.detection().id, &error)),
            }
        }
        for (execution, state) in requery.iter().zip(&mut cluster.requery) {
            if let Err(error) = run(runtime, execution.take_in(state, rows, now)) {
                outcome.faults.push(fault(&execution.detection().id, &error));
            }
        }
        if settings.pace == Pace::Live {
            let ask = Ask::Ripe { watermark };
            evaluate(runtime, requery, cluster, name, ask, now, outcome);
        }
        Ok(())
    }
}

fn evaluate(
    runtime: &Runtime,
    requery: &[Requery],
    cluster: &mut Cluster,
    name: &str,
    ask: Ask,
    now: i64,
    outcome: &mut Outcome,
) {
    for (execution, state) in requery.iter().zip(&mut cluster.requery) {
        match run(runtime, execution.evaluate(state, name, ask, now)) {
            Ok(findings) => outcome.findings.extend(findings),
            Err(error) => outcome.faults.push(fault(&execution.detection().id, &error)),
        }
    }
}

/// Runs one detection. A panic in it is its fault alone: the process would only meet the same
/// events again after a restart.
fn run<T>(runtime: &Runtime, work: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
    outcome.unwrap_or_else(|_| Err(DataFusionError::Execution("it panicked".to_owned())))
}

fn fault(detection: &str, error: &DataFusionError) -> Fault {
    Fault { detection: detection.to_owned(), message: error.strip_backtrace() }
}

/// The rows of each cluster, in the order of their names. Most batches have one.
fn by_cluster(batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
    let index = batch.schema().index_of("cluster")?;
    let column = batch.column(index).as_dictionary::<Int32Type>();
    let names = column.values().as_string::<i32>();
    let mut rows: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (row, key) in (0_u32..).zip(column.keys()) {
        if let Some(name) = key.and_then(|key| usize::try_from(key).ok()) {
            rows.entry(names.value(name)).or_default().push(row);
        }
    }
    if let (1, Some((name, _))) = (rows.len(), rows.first_key_value()) {
        return Ok(vec![((*name).to_owned(), batch.clone())]);
    }
    let parts = rows.into_iter().map(|(name, rows)| {
        Ok((name.to_owned(), take_record_batch(batch, &UInt32Array::from(rows))?))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault_and_the_next_run_goes_on() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let panics = async {
            assert_eq!(runtime.metrics().num_workers(), 0, "on purpose");
            Ok(())
        };
        assert!(run(&runtime, panics).unwrap_err().to_string().contains("it panicked"));
        assert_eq!(run(&runtime, async { Ok(7) }).unwrap(), 7);
    }
}
