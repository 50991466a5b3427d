//! Detections that changed, made of the past again beside those that run: a little at a time, so
//! that what comes meanwhile does not wait. It is given to them too; when they have caught up they
//! take over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use super::past::recall_start;
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Engine, LongMemory, Outcome};
use crate::detect::finding::Finding;
use crate::event::lookback::Lookback;
use crate::history::error::HistoryError;
use crate::history::recall::{Part, Recall, Recalled};

/// What is still to be read for them.
#[derive(Debug)]
enum Reading {
    /// What arrived since, as it was at the beginning.
    Rows(Recalled),
    /// When each cluster begins.
    Beginnings,
    BeginningsOf(Recalled),
    /// Which keys were seen before.
    Keys(LongMemory),
    KeysOf(LongMemory, Recalled),
}

/// Detections on their way.
#[derive(Debug)]
pub struct Rebuilding {
    /// As they were loaded.
    pub(super) catalog: Catalog,
    /// Those that run on, without their state; the new ones with it.
    pub(super) engine: Engine,
    /// Ids of the new ones.
    pub(super) new: BTreeSet<String>,
    lookback: Lookback,
    readings: VecDeque<Reading>,
    /// The last word on each finding, by its id.
    said: BTreeMap<String, Finding>,
    outcome: Outcome,
    /// What was read.
    pub(super) rows: u64,
    begun: Instant,
    held: Duration,
    held_max: Duration,
}

/// How long it took, and how long the loop waited for it.
pub(super) struct Took {
    pub(super) all: Duration,
    pub(super) held: Duration,
    pub(super) held_max: Duration,
}

impl Rebuilding {
    /// Begins; `running` are the detections that run.
    pub(super) fn begin(
        running: &Engine,
        (catalog, mut engine): (Catalog, Engine),
        recall: &Recall,
        now: i64,
    ) -> Result<Box<Self>, (HistoryError, Box<Self>)> {
        let begun = Instant::now();
        let new = running.changed(&engine);
        let lookback = engine.looks_back(Some(&new), now, running.watermarks());
        let mut failed = None;
        let mut readings = VecDeque::new();
        if !new.is_empty() {
            let known = recall.any_before(lookback.since);
            if known.as_ref().is_ok_and(|known| *known) {
                engine.remembered(lookback.clone());
            }
            let rows = known.and_then(|_| recall.of(&lookback, &engine.columns(Some(&new))));
            match rows {
                Ok(rows) => readings.push_back(Reading::Rows(rows)),
                Err(error) => failed = Some(error),
            }
            let memories = engine.long_memories().into_iter();
            let memories: Vec<_> = memories.filter(|of| new.contains(&of.detection)).collect();
            if !memories.is_empty() {
                readings.push_back(Reading::Beginnings);
                readings.extend(memories.into_iter().map(Reading::Keys));
            }
        }
        let held = begun.elapsed();
        let rebuilding = Box::new(Self {
            catalog,
            engine,
            new,
            lookback,
            readings,
            said: BTreeMap::new(),
            outcome: Outcome::default(),
            rows: 0,
            begun,
            held,
            held_max: held,
        });
        match failed {
            Some(error) => Err((error, rebuilding)),
            None => Ok(rebuilding),
        }
    }

    /// Takes in what arrives meanwhile.
    pub(super) fn take_in(&mut self, batch: &RecordBatch, now: i64) {
        let begun = Instant::now();
        let mut outcome = self.engine.rebuild(&self.new, batch, now);
        self.outcome.beyond.append(&mut outcome.beyond);
        self.note(outcome);
        self.held(begun);
    }

    /// Reads on for about so long; true when there is nothing more to be read.
    ///
    /// # Errors
    /// When history cannot be read.
    pub(super) fn go_on(
        &mut self,
        recall: &Recall,
        now: i64,
        limit: Duration,
    ) -> Result<bool, HistoryError> {
        let begun = Instant::now();
        let mut is_over = false;
        while !is_over && begun.elapsed() < limit {
            is_over = self.read(recall, now, limit)?;
        }
        self.held(begun);
        Ok(is_over)
    }

    fn read(&mut self, recall: &Recall, now: i64, limit: Duration) -> Result<bool, HistoryError> {
        let Some(reading) = self.readings.front_mut() else { return Ok(true) };
        let part = match reading {
            Reading::Rows(of) | Reading::BeginningsOf(of) | Reading::KeysOf(_, of) => {
                of.within(limit)?
            }
            Reading::Beginnings => {
                *reading = Reading::BeginningsOf(recall.earliest()?);
                return Ok(false);
            }
            Reading::Keys(memory) => {
                let LongMemory { conditions, key, lookback, .. } = &*memory;
                let keys = recall.keys(conditions, key, *lookback, &self.lookback)?;
                *reading = Reading::KeysOf(memory.clone(), keys);
                return Ok(false);
            }
        };
        let rows = match part {
            Part::Rows(rows) => rows,
            Part::NotYet => return Ok(false),
            Part::End => {
                self.readings.pop_front();
                return Ok(self.readings.is_empty());
            }
        };
        match reading {
            Reading::Rows(_) => {
                self.rows += rows.num_rows() as u64;
                let outcome = self.engine.rebuild(&self.new, &rows, now);
                // What is too old for the new ones they never told of.
                self.note(Outcome { beyond: Vec::new(), ..outcome });
            }
            Reading::KeysOf(memory, _) => self.engine.recall_rows(memory, &rows),
            _ => recall_start(&mut self.engine, &rows),
        }
        Ok(false)
    }

    fn note(&mut self, outcome: Outcome) {
        let Outcome { findings, faults, .. } = outcome;
        self.said.extend(findings.into_iter().map(|finding| (finding.id.clone(), finding)));
        self.outcome.faults.extend(faults);
    }

    fn held(&mut self, begun: Instant) {
        let held = begun.elapsed();
        self.held += held;
        self.held_max = self.held_max.max(held);
    }

    /// What came of it so far, and what it took.
    pub(super) fn outcome(&mut self) -> (Outcome, Took) {
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.findings = std::mem::take(&mut self.said).into_values().collect();
        let took = Took { all: self.begun.elapsed(), held: self.held, held_max: self.held_max };
        (outcome, took)
    }
}
