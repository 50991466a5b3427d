//! Drives the detections: rows of events in, findings that changed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use tokio::runtime::{Builder, Runtime};

use super::catalog::Catalog;
use super::cluster::{Cluster, Now};
use super::detection::{Detection, Kind, LoadError};
use super::execution::{Execution, State};
use super::first_seen::FirstSeen;
use super::index::select::Index;
use super::memory::{LongMemory, Seen};
use super::requery::Ask;
use super::rows::{by_cluster, event_times, key_bytes};
use super::running::{Kept, Running, Taken, fault};
use super::watermark::{Patience, Stragglers, Watermark};
use crate::sql::context::session;

pub use super::outcome::{Beyond, Cost, Exempted, Fault, Outcome};

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

/// All detections with their state. Not for use inside an async runtime: it has one of its own,
/// on the caller's thread.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    settings: EngineSettings,
    index: Index,
    detections: Vec<Running>,
    clusters: BTreeMap<String, Cluster>,
    /// Nothing before this is known of clusters that are new.
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
        let (detections, index) = Self::plan(&runtime, catalog)?;
        let (clusters, told_from) = (BTreeMap::new(), i64::MIN);
        Ok(Self { runtime, settings, index, detections, clusters, told_from })
    }

    fn plan(runtime: &Runtime, catalog: &Catalog) -> Result<(Vec<Running>, Index), Vec<LoadError>> {
        let failed = |error: DataFusionError| {
            let message = format!("index conditions: {}", error.strip_backtrace());
            vec![LoadError { path: "auditmill".into(), line: None, message, hint: None }]
        };
        let context = session().map_err(failed)?;
        let (mut detections, mut errors) = (Vec::new(), Vec::new());
        for detection in catalog.detections() {
            match Running::new(runtime, &context, catalog, detection) {
                Ok(running) => detections.push(running),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let conditions: Vec<&[Expr]> =
            detections.iter().map(|running| running.conditions.as_slice()).collect();
        let index = Index::new(&context, &conditions).map_err(failed)?;
        Ok((detections, index))
    }

    /// The detections as they run, in the order of their ids.
    pub(crate) fn running(&self) -> &[Running] {
        &self.detections
    }

    /// Goes on with other detections. Those that stay as they are keep their state; of the others
    /// the ids are given: [`Engine::rebuild`] them from the rows of the [`Engine::lookback`].
    ///
    /// # Errors
    /// All detections that cannot be planned; then nothing changes.
    pub fn reload(&mut self, catalog: &Catalog) -> Result<BTreeSet<String>, Vec<LoadError>> {
        let (mut detections, index) = Self::plan(&self.runtime, catalog)?;
        let before = std::mem::take(&mut self.detections);
        let mut new = BTreeSet::new();
        let mut from: Vec<Option<usize>> = Vec::with_capacity(detections.len());
        for running in &mut detections {
            let known = before.iter().position(|old| old.is_as(running));
            match known.and_then(|at| before.get(at)) {
                Some(old) => (running.rows, running.nanos) = (old.rows, old.nanos),
                None => drop(new.insert(running.detection().id.clone())),
            }
            from.push(known);
        }
        // What is planned anew is the same plan: a state fits either.
        for cluster in self.clusters.values_mut() {
            let mut states: Vec<Option<Kept>> =
                std::mem::take(&mut cluster.states).into_iter().map(Some).collect();
            let kept = detections.iter().zip(&from).map(|(running, from)| {
                let state = from.and_then(|at| states.get_mut(at)?.take());
                state.unwrap_or_else(|| running.start(i64::MIN))
            });
            cluster.states = kept.collect();
        }
        (self.detections, self.index) = (detections, index);
        Ok(new)
    }

    /// Takes in rows that other detections have had already, for these alone.
    pub fn rebuild(&mut self, ids: &BTreeSet<String>, batch: &RecordBatch, now: i64) -> Outcome {
        let numbered = self.detections.iter().enumerate();
        let only = numbered.filter(|(_, running)| ids.contains(&running.detection().id));
        let only: BTreeSet<usize> = only.map(|(number, _)| number).collect();
        self.take_in(batch, now, Some(&only))
    }

    /// The rows of which state was made so far arrived from `since` on: what happened before can
    /// only be asked of history.
    pub fn remembered(&mut self, since: i64) {
        self.told_from = since.saturating_add(self.settings.patience.skew);
        for cluster in self.clusters.values_mut() {
            for (running, kept) in self.detections.iter().zip(&mut cluster.states) {
                kept.told_from = kept.told_from.max(running.edge_after(self.told_from));
                running.execution.forget(&mut kept.state, kept.told_from);
            }
        }
    }

    /// The past of a cluster reaches back to this event time.
    pub fn reaches(&mut self, cluster: &str, time: i64) {
        for kept in &mut self.cluster(cluster).states {
            if let State::FirstSeen(state) = &mut kept.state {
                FirstSeen::reaches(state, time);
            }
        }
    }

    /// What detections of what is new must know of the past.
    pub fn long_memories(&self) -> Vec<LongMemory> {
        let memory = |running: &Running| match &running.execution {
            Execution::FirstSeen(of) => Some(LongMemory {
                detection: running.detection().id.clone(),
                conditions: running.conditions.clone(),
                key: running.expressions(&of.novelty().key),
                lookback: of.novelty().lookback,
            }),
            _ => None,
        };
        self.detections.iter().filter_map(memory).collect()
    }

    /// A key of a long memory, as rows of one cluster whose columns are those of
    /// [`LongMemory::key`], was seen from `first` to `last`.
    pub fn recall(&mut self, memory: &LongMemory, cluster: &str, seen: &Seen) {
        let at = self.detections.iter().position(|of| of.detection().id == memory.detection);
        let state = at.and_then(|at| self.cluster(cluster).states.get_mut(at));
        if let Some(Kept { state: State::FirstSeen(state), .. }) = state {
            FirstSeen::remember(state, key_bytes(&seen.key).into(), seen.first, seen.last);
        }
    }

    fn cluster(&mut self, name: &str) -> &mut Cluster {
        let Self { settings, detections, clusters, told_from, .. } = self;
        clusters.entry(name.to_owned()).or_insert_with(|| Cluster {
            watermark: Watermark::new(settings.patience),
            stragglers: Stragglers::new(settings.hold),
            states: detections.iter().map(|running| running.start(*told_from)).collect(),
        })
    }

    /// Takes in new rows of the events table, none of them seen before; `now` is the wall clock
    /// in microseconds.
    pub fn on_batch(&mut self, batch: &RecordBatch, now: i64) -> Outcome {
        self.take_in(batch, now, None)
    }

    fn take_in(
        &mut self,
        batch: &RecordBatch,
        now: i64,
        only: Option<&BTreeSet<usize>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        match by_cluster(batch) {
            Ok(parts) => {
                for (cluster, rows) in parts {
                    let taken = self.on_cluster_batch(&cluster, &rows, now, only, &mut outcome);
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
                cluster.evaluate(runtime, detections, &now, &mut outcome);
            }
            let over = watermark.saturating_sub(settings.hold).min(cluster.stragglers.oldest(now));
            for (running, kept) in detections.iter().zip(&mut cluster.states) {
                kept.told_from = kept.told_from.max(running.edge(over));
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
            cluster.evaluate(runtime, detections, &now, &mut outcome);
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
        let detections = self.detections.iter().map(|running| running.detection());
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
            (running.detection().id.as_str(), cost)
        })
    }

    fn on_cluster_batch(
        &mut self,
        name: &str,
        rows: &RecordBatch,
        now: i64,
        only: Option<&BTreeSet<usize>>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let times = event_times(rows)?;
        self.cluster(name);
        let Self { runtime, settings, index, detections, clusters, .. } = self;
        let Some(cluster) = clusters.get_mut(name) else { return Ok(()) };
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
            let detection = detections.get(number).map(|of| of.detection().id.clone());
            outcome.faults.push(Fault { detection: detection.unwrap_or_default(), message });
        }
        let states = detections.iter_mut().zip(&mut cluster.states);
        for (number, ((running, kept), selected)) in states.zip(selection.rows).enumerate() {
            if let State::FirstSeen(state) = &mut kept.state {
                FirstSeen::reaches(state, oldest);
            }
            if selected.is_empty() || only.is_some_and(|only| !only.contains(&number)) {
                continue;
            }
            let mut taken = Taken { cluster: name, batch: rows, times, selected, now };
            if oldest < kept.told_from {
                outcome.beyond.extend(running.beyond(kept.told_from, &mut taken));
            }
            match running.take_in(kept, taken, &mut outcome.exempted) {
                Ok(findings) => outcome.findings.extend(findings),
                Err(error) => outcome.faults.push(running.fault(&error)),
            }
            Execution::cap(&mut kept.state, settings.state_bytes_max);
        }
        if settings.pace == Pace::Live {
            let ask = Ask::Ripe { watermark };
            let now = Now { cluster: name, ask, time: now, first };
            cluster.evaluate(runtime, detections, &now, outcome);
        }
        Ok(())
    }
}
