//! One version of the detections over the events: the engine as it runs in a server, with event
//! time for its clock.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use arrow::array::RecordBatch;

use super::period::Period;
use crate::clock::now_micros;
use crate::command::BadDetections;
use crate::detect::catalog::Catalog;
use crate::detect::detection::Kind;
use crate::detect::engine::{Engine, EngineSettings, LongMemory, Pace};
use crate::detect::finding::{Finding, Status};
use crate::detect::outcome::Outcome;
use crate::detect::rows::event_times;

/// How often windows that are over are looked for, microseconds of event time.
const TICK: i64 = 60_000_000;

/// A version of the detections at work.
pub(super) struct Trial {
    catalog: Catalog,
    engine: Engine,
    period: Period,
    pace: Pace,
    /// The latest event time so far, and when time was last let pass.
    clock: i64,
    ticked: i64,
    /// The last word on each finding, by its id.
    findings: BTreeMap<String, Finding>,
    faults: BTreeSet<String>,
    /// Detections that an event came for whose buckets were forgotten.
    beyond: BTreeSet<String>,
}

/// What came of a trial.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By id; none that was withdrawn, none from before the period.
    pub(super) findings: BTreeMap<String, Finding>,
    /// Detections that failed, in words.
    pub(super) faults: BTreeSet<String>,
}

impl Trial {
    /// Plans the detections.
    ///
    /// # Errors
    /// When one cannot be planned.
    pub(super) fn new(catalog: &Catalog, period: Period, pace: Pace) -> Result<Self> {
        let settings = EngineSettings { pace, ..EngineSettings::default() };
        Ok(Self {
            catalog: catalog.clone(),
            engine: Engine::new(catalog, settings).map_err(BadDetections)?,
            period,
            pace,
            clock: i64::MIN,
            ticked: i64::MIN,
            findings: BTreeMap::new(),
            faults: BTreeSet::new(),
            beyond: BTreeSet::new(),
        })
    }

    /// How far back events lie of which the state at a time is made, microseconds.
    pub(super) fn lookback(&self) -> i64 {
        self.engine.lookback()
    }

    /// The columns of events that it reads.
    pub(super) fn columns(&self) -> BTreeSet<String> {
        self.engine.columns(None)
    }

    /// What must be known of the time before the first event that it takes in.
    pub(super) fn long_memories(&self) -> Vec<LongMemory> {
        self.engine.long_memories()
    }

    /// Takes note of which keys were seen before.
    pub(super) fn recall(&mut self, memory: &LongMemory, rows: &RecordBatch) {
        self.engine.recall_rows(memory, rows);
    }

    /// The past of a cluster reaches back to this event time.
    pub(super) fn reaches(&mut self, cluster: &str, time: i64) {
        self.engine.reaches(cluster, time);
    }

    /// Takes in rows, each once.
    pub(super) fn take_in(&mut self, rows: &RecordBatch) {
        // An event that claims to be of the future does not make it one.
        let now = now_micros();
        let times = event_times(rows).unwrap_or_default().iter().copied();
        let times = times.filter(|time| *time <= now);
        let (first, last) =
            times.clone().min().zip(times.max()).unwrap_or((self.clock, self.clock));
        if self.clock > i64::MIN && first.saturating_sub(self.clock) >= TICK {
            // What is silent is so before the next event comes.
            self.tick(first);
        }
        self.clock = self.clock.max(last);
        let outcome = self.engine.on_batch(rows, self.clock);
        self.gather(outcome);
        if self.clock.saturating_sub(self.ticked) >= TICK {
            self.tick(self.clock);
        }
    }

    fn tick(&mut self, now: i64) {
        (self.clock, self.ticked) = (now, now);
        // What asks once keeps everything until then.
        if self.pace == Pace::Past {
            let outcome = self.engine.on_time(now);
            self.gather(outcome);
        }
    }

    fn gather(&mut self, outcome: Outcome) {
        for finding in outcome.findings {
            // One that is withdrawn may come again.
            if finding.status == Status::Withdrawn {
                self.findings.remove(&finding.id);
            } else if self.period.holds(&finding) {
                self.findings.insert(finding.id.clone(), finding);
            }
        }
        self.beyond.extend(outcome.beyond.into_iter().map(|beyond| beyond.detection));
        let faults = outcome.faults.into_iter();
        self.faults
            .extend(faults.map(|fault| format!("{} failed: {}", fault.detection, fault.message)));
    }

    /// The events have ended.
    pub(super) fn finish(&mut self) {
        let outcome = self.engine.finish_by(self.clock);
        self.gather(outcome);
    }

    /// A trial of the detections that an event came for too late, which keeps everything to the
    /// end: all events are to be read again. `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be planned.
    pub(super) fn again(&self) -> Result<Option<Self>> {
        if self.beyond.is_empty() {
            return Ok(None);
        }
        let chained = self.catalog.detections().any(|of| of.kind == Kind::OverFindings);
        let catalog = self.catalog.selected(|id| chained || self.beyond.contains(id));
        Self::new(&catalog, self.period, Pace::Replay).map(Some)
    }

    /// Ids of the detections that an event came for too late.
    pub(super) fn beyond(&self) -> impl Iterator<Item = &str> {
        self.beyond.iter().map(String::as_str)
    }

    /// Takes the word of another trial for its detections.
    pub(super) fn replace(&mut self, other: Self) {
        self.findings.retain(|_, finding| other.catalog.get(&finding.detection.id).is_none());
        self.findings.extend(other.findings);
        self.faults.extend(other.faults);
    }

    /// What came of it.
    pub(super) fn found(self) -> Found {
        Found { findings: self.findings, faults: self.faults }
    }
}
