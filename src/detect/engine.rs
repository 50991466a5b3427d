//! Drives the detections: rows of events in, findings that changed out.

mod past;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use tokio::runtime::{Builder, Runtime};

use super::asked::Apart;
use super::catalog::Catalog;
use super::cluster::{Cluster, Limits, Now};
use super::detection::LoadError;
use super::execution::{Execution, State};
use super::exemption::{Exemptions, Hidden};
use super::index::select::{Index, Selection};
use super::requery::Ask;
use super::rows::{arrivals, by_cluster, event_times};
use super::running::{Running, Taken, fault};
use super::watermark::{Stragglers, Watermark};
use crate::event::lookback::Lookback;
use crate::sql::context::session;

pub use self::past::{LongMemory, Seen};
pub use self::settings::{EngineSettings, Pace};
pub use super::outcome::{Beyond, Cost, Exempted, Fault, Outcome};

/// All detections with their state. Not for use inside an async runtime: it has one of its own,
/// on the caller's thread.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    settings: EngineSettings,
    index: Index,
    exemptions: Exemptions,
    detections: Vec<Running>,
    clusters: BTreeMap<String, Cluster>,
    /// Where slow queries run, if none is to wait for them.
    apart: Option<Apart>,
    /// The rows of the past that state was made of; `None` when there is no other past.
    known: Option<Lookback>,
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
        let apart = settings.limited.then(Apart::start).transpose();
        let apart = apart.map_err(|error| failed(format!("start a thread: {error}")))?;
        let (detections, index, exemptions) = Self::plan(&runtime, catalog)?;
        let (clusters, known) = (BTreeMap::new(), None);
        Ok(Self { runtime, settings, index, exemptions, detections, clusters, apart, known })
    }

    fn plan(
        runtime: &Runtime,
        catalog: &Catalog,
    ) -> Result<(Vec<Running>, Index, Exemptions), Vec<LoadError>> {
        let failed = |error: DataFusionError| {
            let message = format!("index conditions: {}", error.strip_backtrace());
            vec![LoadError { path: "auditmill".into(), line: None, message, hint: None }]
        };
        let context = session().map_err(failed)?;
        let (mut detections, mut errors) = (Vec::new(), Vec::new());
        for detection in catalog.detections() {
            match Running::new(runtime, catalog, detection) {
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
        let exemptions = Exemptions::new(&context, &mut detections).map_err(failed)?;
        Ok((detections, index, exemptions))
    }

    fn cluster(&mut self, name: &str) -> &mut Cluster {
        let Self { settings, detections, clusters, known, .. } = self;
        clusters.entry(name.to_owned()).or_insert_with(|| {
            let known_from = past::known_from(known.as_ref(), name);
            let told_from = past::told_from(detections, known_from);
            Cluster {
                watermark: Watermark::new(settings.patience),
                stragglers: Stragglers::new(settings.hold),
                states: detections
                    .iter()
                    .map(|running| running.start(told_from(running)))
                    .collect(),
            }
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
        let Self { runtime, settings, detections, clusters, apart, .. } = self;
        let apart = apart.as_ref();
        let read = past::read_span(detections);
        let limits = settings.limits(clusters.len());
        for (name, cluster) in clusters {
            let watermark = cluster.watermark.advance(now);
            let over = watermark.saturating_sub(settings.hold).min(cluster.stragglers.oldest(now));
            let asks = match settings.pace {
                Pace::Live => Some((Ask::Ripe { watermark }, Ask::Ripe { watermark })),
                // What is read changes for long; asked each time, its windows cost most of all.
                Pace::Past => {
                    let read = Ask::Closed { watermark: over.saturating_sub(read) };
                    Some((Ask::Closed { watermark }, read))
                }
                Pace::Replay => None,
            };
            if let Some((ask, ask_chains)) = asks {
                let first = outcome.findings.len();
                let now = Now { cluster: name, ask, ask_chains, time: now, limits, apart, first };
                cluster.evaluate(runtime, detections, &now, &mut outcome);
            }
            for (running, kept) in detections.iter().zip(&mut cluster.states) {
                // What is read may still change, and is as old as its first event.
                let over = if running.is_chain() { over.saturating_sub(read) } else { over };
                // A query that rests has not been asked about all that is over.
                let over = kept.state.owed().map_or(over, |end| end.min(over));
                kept.told_from = kept.told_from.max(running.edge(over));
                running.execution.forget(&mut kept.state, kept.told_from);
            }
        }
        outcome
    }

    /// The input has ended: asks every window that is still to be asked.
    pub fn finish(&mut self) -> Outcome {
        self.finish_between(i64::MIN, i64::MAX)
    }

    /// As [`Engine::finish`]; time has come at least so far, microseconds of event time.
    pub fn finish_at(&mut self, time: i64) -> Outcome {
        self.finish_between(time, i64::MAX)
    }

    /// As [`Engine::finish`]; time has come no further than this, microseconds of event time: an
    /// event that claims to be of later does not make missing what is still there.
    pub fn finish_by(&mut self, time: i64) -> Outcome {
        self.finish_between(i64::MIN, time)
    }

    fn finish_between(&mut self, least: i64, most: i64) -> Outcome {
        let mut outcome = Outcome::default();
        let Self { runtime, settings, detections, clusters, .. } = self;
        let limits = Limits { limited: false, ..settings.limits(1) };
        for (name, cluster) in clusters {
            let first = outcome.findings.len();
            // There is no later event: time has come as far as the last one.
            let time = cluster.watermark.latest().min(most).max(least);
            let (ask, ask_chains) = (Ask::All, Ask::All);
            let now = Now { cluster: name, ask, ask_chains, time, limits, apart: None, first };
            cluster.evaluate(runtime, detections, &now, &mut outcome);
        }
        outcome
    }

    /// Forgets every event, as if none had come: for the next of many short inputs.
    pub fn clear(&mut self) {
        self.clusters.clear();
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

    /// The detections at work, in the order of their ids.
    pub(crate) fn running(&self) -> &[Running] {
        &self.detections
    }

    /// How each detection runs, in a word, by its id.
    pub fn classes(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.detections.iter().map(|of| (of.detection().id.as_str(), of.execution.class()))
    }

    /// The columns of `events` that it reads: of all detections, or of these.
    pub fn columns(&self, ids: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        let is_wanted =
            |running: &&Running| ids.is_none_or(|ids| ids.contains(&running.detection().id));
        self.detections.iter().filter(is_wanted).flat_map(Running::columns).collect()
    }

    /// How much of the time to learn is covered, from 0 to 1: of each detection of what is new, by
    /// its id and the cluster.
    pub fn learning(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.detections.iter().enumerate().flat_map(|(number, running)| {
            self.clusters.iter().filter_map(move |(name, cluster)| {
                let Execution::FirstSeen(of) = &running.execution else { return None };
                let State::FirstSeen(state) = &cluster.states.get(number)?.state else {
                    return None;
                };
                let learned = of.learned(state, cluster.watermark.reached());
                Some((running.detection().id.as_str(), name.as_str(), learned))
            })
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
        let Self { runtime, settings, index, exemptions, detections, clusters, apart, .. } = self;
        let apart = apart.as_ref();
        let limits = settings.limits(clusters.len());
        let Some(cluster) = clusters.get_mut(name) else { return Ok(()) };
        let oldest = times.iter().copied().min().unwrap_or(i64::MAX);
        let first_arrived = arrivals(rows).iter().copied().min().unwrap_or(i64::MAX);
        let arrives = only.is_none();
        if arrives {
            let arrivals = if settings.pace == Pace::Replay { &[] } else { arrivals(rows) };
            let late = cluster.arrive(times, oldest, arrivals, now);
            outcome.late.extend((late > 0).then(|| (name.to_owned(), late)));
        }
        let watermark = cluster.watermark.advance(now);
        let first = outcome.findings.len();
        let is_live = settings.pace == Pace::Live && arrives;
        let begun = Instant::now();
        // What is read again of the past is judged by all.
        let is_limited = is_live && settings.limited;
        let aside = detections.iter().enumerate();
        let aside = aside.filter(|(_, of)| is_limited && of.budget.is_aside(begun));
        index.set_aside(aside.map(|(number, _)| number).collect());
        let Selection { rows: mut selected, report } = index.select(rows)?;
        let faults = report.faults.into_iter().map(|(number, message)| {
            let detection = detections.get(number).map(|of| of.detection().id.clone());
            Fault { detection: detection.unwrap_or_default(), message }
        });
        outcome.faults.extend(faults);
        take_times(detections, report.took);
        if let Some(only) = only {
            leave(&mut selected, only);
        }
        let hidden = hidden(exemptions, rows, &selected, (detections, outcome))?;
        let states = detections.iter_mut().zip(&mut cluster.states);
        for (number, ((running, kept), selected)) in states.zip(selected).enumerate() {
            running.execution.reaches(&mut kept.state, oldest);
            if is_limited && running.budget.is_aside(begun) {
                running.execution.misses(&mut kept.state, cluster.watermark.latest());
            }
            if only.is_some_and(|only| !only.contains(&number)) {
                continue;
            }
            if !selected.is_empty() {
                let hidden = &hidden;
                let mut taken = Taken { cluster: name, batch: rows, times, selected, hidden };
                if oldest < kept.told_from {
                    outcome.beyond.extend(running.beyond(kept.told_from, &mut taken));
                }
                running.take_in(kept, taken, outcome);
                Execution::cap(&mut kept.state, settings.state_bytes_max);
            }
            // An event that it has no use for may show that the past reaches back further.
            if oldest < kept.told_from {
                outcome.beyond.extend(running.asks(kept, name, first_arrived));
            }
        }
        if is_limited {
            let now = Instant::now();
            let aside = detections.iter_mut().filter_map(|running| running.over_budget(now));
            outcome.faults.extend(aside);
        }
        let ask = Ask::Ripe { watermark };
        let now = Now { cluster: name, ask, ask_chains: ask, time: now, limits, apart, first };
        if is_live {
            cluster.evaluate(runtime, detections, &now, outcome);
        } else {
            cluster.tell_chains(detections, (first, limits.state_bytes_max), outcome);
        }
        Ok(())
    }
}

/// Nobody else is asked.
fn leave(selected: &mut [Vec<u32>], only: &BTreeSet<usize>) {
    let others = selected.iter_mut().enumerate().filter(|(number, _)| !only.contains(number));
    others.for_each(|(_, selected)| selected.clear());
}

/// The rows that conditions of exceptions are true of, of those that detections selected.
fn hidden(
    exemptions: &mut Exemptions,
    rows: &RecordBatch,
    selected: &[Vec<u32>],
    (detections, outcome): (&mut [Running], &mut Outcome),
) -> Result<Vec<Vec<u32>>> {
    let Hidden { rows, faults, took } = exemptions.of(rows, selected, detections)?;
    outcome.faults.extend(faults);
    take_times(detections, took);
    Ok(rows)
}

/// Detections take note of the time that their conditions took.
fn take_times(detections: &mut [Running], took: HashMap<usize, Duration>) {
    for (number, took) in took {
        if let Some(running) = detections.get_mut(number) {
            running.take_time(took);
        }
    }
}
