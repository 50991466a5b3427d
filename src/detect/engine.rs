//! Drives the detections: rows of events in, findings that changed out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int32Type;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use tokio::runtime::{Builder, Runtime};

use super::catalog::Catalog;
use super::detection::{Detection, Kind, LoadError};
use super::execution::{Execution, State};
use super::finding::Finding;
use super::index::select::Index;
use super::intake::Outputs;
use super::plan::{Planned, plan};
use super::requery::Ask;
use super::rows::event_times;
use super::watermark::{Patience, Stragglers, Watermark};
use crate::sql::context::session;

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
    /// How long what is over is held for late events, microseconds: windows and buckets are
    /// forgotten that much behind the watermark, if no event as old has arrived for as long.
    pub hold: i64,
    /// The most bytes that one detection keeps for one cluster; beyond, what was not touched
    /// lately goes and findings that may miss it are marked incomplete.
    pub state_bytes_max: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            pace: Pace::Live,
            patience: Patience::default(),
            hold: 3_600_000_000,
            state_bytes_max: 256 << 20,
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
    /// What is to be asked of history: the state does not reach that far back.
    pub beyond: Vec<Beyond>,
}

/// Buckets of a detection that are forgotten, and that an event came for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beyond {
    /// The cluster.
    pub cluster: String,
    /// Id of the detection.
    pub detection: String,
    /// Start of the first bucket, microseconds of event time.
    pub from: i64,
    /// End of the last bucket.
    pub to: i64,
}

/// What a detection has cost and keeps, over all clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows that its conditions let through.
    pub rows: u64,
    /// Time spent on these rows and its windows; conditions are worked out for all at once.
    pub nanos: u64,
    /// Bytes of its state.
    pub bytes: usize,
    /// Keys of its state.
    pub keys: usize,
}

/// All detections with their state. Not for use inside an async runtime: it has one of its own,
/// on the caller's thread.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    settings: EngineSettings,
    index: Index,
    detections: Vec<Running>,
    clusters: BTreeMap<String, Cluster>,
}

#[derive(Debug)]
struct Running {
    outputs: Outputs,
    execution: Execution,
    rows: u64,
    nanos: u64,
}

#[derive(Debug)]
struct Cluster {
    watermark: Watermark,
    stragglers: Stragglers,
    /// One for each detection.
    states: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    state: State,
    /// What ends before this is forgotten: an edge of the detection's buckets.
    told_from: i64,
}

impl Engine {
    /// Plans every detection of the catalogue.
    ///
    /// # Errors
    /// All detections that cannot be planned, each with file, line and hint.
    pub fn new(catalog: &Catalog, settings: EngineSettings) -> Result<Self, Vec<LoadError>> {
        let failed = |message: String| {
            vec![LoadError { path: "auditmill".into(), line: None, message, hint: None }]
        };
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime =
            runtime.map_err(|error| failed(format!("start the engine's runtime: {error}")))?;
        let (mut detections, mut conditions, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for detection in catalog.detections() {
            match runtime.block_on(plan(detection)) {
                Ok(Planned { intake, execution }) => {
                    conditions.push(intake.conditions);
                    let outputs = intake.outputs;
                    detections.push(Running { outputs, execution, rows: 0, nanos: 0 });
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let conditions: Vec<&[Expr]> = conditions.iter().map(Vec::as_slice).collect();
        let index = session().and_then(|context| Index::new(&context, &conditions));
        let index = index
            .map_err(|error| failed(format!("index conditions: {}", error.strip_backtrace())))?;
        Ok(Self { runtime, settings, index, detections, clusters: BTreeMap::new() })
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
        let Self { runtime, settings, detections, clusters, .. } = self;
        for (name, cluster) in clusters {
            let watermark = cluster.watermark.advance(now);
            if settings.pace == Pace::Live {
                let (ask, first) = (Ask::Ripe { watermark }, outcome.findings.len());
                let now = Now { cluster: name, ask, time: now, first };
                evaluate(runtime, detections, cluster, &now, &mut outcome);
            }
            let over = watermark.saturating_sub(settings.hold).min(cluster.stragglers.oldest(now));
            for (running, kept) in detections.iter().zip(&mut cluster.states) {
                let dedup = running.execution.detection().dedup;
                let edge = over.div_euclid(dedup).saturating_mul(dedup);
                kept.told_from = kept.told_from.max(edge);
                running.execution.forget(&mut kept.state, kept.told_from);
            }
        }
        outcome
    }

    /// The input has ended: asks every window that is still to be asked.
    pub fn finish(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let Self { runtime, detections, clusters, .. } = self;
        for (name, cluster) in clusters {
            let first = outcome.findings.len();
            let now = Now { cluster: name, ask: Ask::All, time: i64::MIN, first };
            evaluate(runtime, detections, cluster, &now, &mut outcome);
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
        let detections = self.detections.iter().map(|running| running.execution.detection());
        let span = |detection: &Arc<Detection>| {
            let length = match detection.kind {
                Kind::Absent(length) | Kind::Silent(length) => length,
                _ => detection.window.map_or(0, |window| window.length),
            };
            detection.dedup.saturating_add(length)
        };
        let Patience { lateness, skew, idle_after } = self.settings.patience;
        let slack = lateness.saturating_add(skew).saturating_add(idle_after);
        let held = self.settings.hold.saturating_add(slack);
        // What chains read must be found again first.
        let of = |chains: bool| {
            let are = move |of: &&Arc<Detection>| (of.kind == Kind::OverFindings) == chains;
            detections.clone().filter(are).map(span).max().unwrap_or(0)
        };
        of(false).saturating_add(of(true)).saturating_add(held)
    }

    /// Watermark of each cluster in microseconds, as far as it was last advanced.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster.watermark.reached()))
    }

    /// What each detection has cost and keeps, by its id.
    pub fn costs(&self) -> impl Iterator<Item = (&str, Cost)> {
        self.detections.iter().enumerate().map(|(number, running)| {
            let states = self.clusters.values().filter_map(move |of| of.states.get(number));
            let mut cost = Cost { rows: running.rows, nanos: running.nanos, ..Cost::default() };
            for kept in states {
                cost.bytes += kept.state.bytes();
                cost.keys += kept.state.keys();
            }
            (running.execution.detection().id.as_str(), cost)
        })
    }

    fn on_cluster_batch(
        &mut self,
        name: &str,
        rows: &RecordBatch,
        now: i64,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let times = event_times(rows)?;
        let Self { runtime, settings, index, detections, clusters } = self;
        let cluster = clusters.entry(name.to_owned()).or_insert_with(|| Cluster {
            watermark: Watermark::new(settings.patience),
            stragglers: Stragglers::new(settings.hold),
            states: detections.iter().map(Running::start).collect(),
        });
        let watermark = cluster.watermark.reached();
        let late = times.iter().filter(|time| **time < watermark).count() as u64;
        if late > 0 {
            outcome.late.insert(name.to_owned(), late);
        }
        let oldest = times.iter().copied().min().unwrap_or(i64::MAX);
        cluster.stragglers.observe(oldest, now);
        cluster.watermark.observe(times.iter().copied().max().unwrap_or(i64::MIN), now);
        let watermark = cluster.watermark.advance(now);
        let first = outcome.findings.len();
        let selection = index.select(rows)?;
        for (number, message) in selection.faults {
            let detection = detections.get(number).map(|of| of.execution.detection().id.clone());
            outcome.faults.push(Fault { detection: detection.unwrap_or_default(), message });
        }
        let states = detections.iter_mut().zip(&mut cluster.states);
        for ((running, kept), mut selected) in states.zip(selection.rows) {
            if oldest < kept.told_from {
                let beyond = running.beyond(kept.told_from, times, &mut selected);
                outcome
                    .beyond
                    .extend(beyond.map(|beyond| Beyond { cluster: name.to_owned(), ..beyond }));
            }
            if selected.is_empty() {
                continue;
            }
            match running.take_in(&mut kept.state, name, rows, selected, now) {
                Ok(findings) => outcome.findings.extend(findings),
                Err(error) => outcome.faults.push(running.fault(&error)),
            }
            Execution::cap(&mut kept.state, settings.state_bytes_max);
        }
        if settings.pace == Pace::Live {
            let ask = Ask::Ripe { watermark };
            let now = Now { cluster: name, ask, time: now, first };
            evaluate(runtime, detections, cluster, &now, outcome);
        }
        Ok(())
    }
}

impl Running {
    fn start(&self) -> Kept {
        Kept { state: self.execution.state(), told_from: i64::MIN }
    }

    fn take_in(
        &mut self,
        state: &mut State,
        cluster: &str,
        batch: &RecordBatch,
        selected: Vec<u32>,
        now: i64,
    ) -> Result<Vec<Finding>> {
        let begun = Instant::now();
        self.rows += selected.len() as u64;
        let findings = unwound(|| {
            let rows = self.outputs.of(batch, &UInt32Array::from(selected))?;
            self.execution.take_in(state, cluster, &rows, now)
        });
        self.nanos += nanos(begun);
        findings
    }

    /// Takes the rows out that only buckets have which are forgotten; says which these are.
    fn beyond(&self, told_from: i64, times: &[i64], selected: &mut Vec<u32>) -> Option<Beyond> {
        let time = |row: u32| times.get(row as usize).copied().unwrap_or(i64::MAX);
        let old = selected.iter().map(|row| time(*row)).filter(|time| *time < told_from);
        let (first, last) =
            old.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        if first > last {
            return None;
        }
        let detection = self.execution.detection();
        let length = detection.window.map_or(0, |window| window.length);
        selected.retain(|row| time(*row).saturating_add(length) >= told_from);
        let edge = |time: i64| time.div_euclid(detection.dedup).saturating_mul(detection.dedup);
        Some(Beyond {
            cluster: String::new(),
            detection: detection.id.clone(),
            from: edge(first),
            to: edge(last.saturating_add(length)).saturating_add(detection.dedup).min(told_from),
        })
    }

    fn fault(&self, error: &DataFusionError) -> Fault {
        fault(&self.execution.detection().id, error)
    }
}

/// Asks what is to be asked, last those that read findings: `first` is where the cluster's
/// begin in the outcome.
fn evaluate(
    runtime: &Runtime,
    detections: &mut [Running],
    cluster: &mut Cluster,
    now: &Now<'_>,
    outcome: &mut Outcome,
) {
    for chains in [false, true] {
        let read = outcome.findings.get(now.first..).unwrap_or_default().to_vec();
        for (running, kept) in detections.iter_mut().zip(&mut cluster.states) {
            if matches!(running.execution, Execution::Chain(_)) != chains {
                continue;
            }
            let begun = Instant::now();
            let (execution, state) = (&running.execution, &mut kept.state);
            let answer = unwound(|| {
                if chains {
                    execution.take_findings(state, &read)?;
                }
                execution.evaluate(runtime, state, now.cluster, now.ask, now.time)
            });
            match answer {
                Ok(findings) => outcome.findings.extend(findings),
                Err(error) => outcome.faults.push(running.fault(&error)),
            }
            running.nanos += nanos(begun);
        }
    }
}

/// What is to be asked, and when.
struct Now<'a> {
    cluster: &'a str,
    ask: Ask,
    /// Arrival, microseconds.
    time: i64,
    /// Where the cluster's findings begin in the outcome.
    first: usize,
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Runs one detection. A panic in it is its fault alone: the process would only meet the same
/// events again after a restart.
fn unwound<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
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
        let panics = || {
            assert_eq!("this", "that", "on purpose");
            Ok(())
        };
        assert!(unwound(panics).unwrap_err().to_string().contains("it panicked"));
        assert_eq!(unwound(|| Ok(7)).unwrap(), 7);
    }
}
