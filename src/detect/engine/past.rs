//! What an engine makes of the past: at a start, and when its detections change.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use datafusion::logical_expr::Expr;

use super::super::catalog::Catalog;
use super::super::detection::LoadError;
use super::super::execution::{Execution, State};
use super::super::finding::Finding;
use super::super::first_seen::FirstSeen;
use super::super::rows::key_bytes;
use super::super::running::{Kept, Running};
use super::super::value::Value;
use super::super::watermark::Patience;
use super::{Ask, Engine, Now, Outcome};

/// What a detection of what is new must know of the past: which keys were seen when, of the rows
/// for which all conditions are true.
#[derive(Clone, Debug)]
pub struct LongMemory {
    /// Id of the detection.
    pub detection: String,
    /// Over columns of `events`, without a qualifier.
    pub conditions: Vec<Expr>,
    /// What makes the key, besides the cluster.
    pub key: Vec<Expr>,
    /// How far back, microseconds of event time.
    pub lookback: i64,
}

/// When a key was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its values.
    pub key: Vec<Value>,
    /// The first time, microseconds of event time.
    pub first: i64,
    /// The last time.
    pub last: i64,
}

impl Engine {
    /// As [`Engine::take_over`], planned here.
    ///
    /// # Errors
    /// All detections that cannot be planned; then nothing changes.
    pub fn reload(&mut self, catalog: &Catalog) -> Result<BTreeSet<String>, Vec<LoadError>> {
        Ok(self.take_over(Self::new(catalog, self.settings)?))
    }

    /// Goes on with the detections of another engine, one that has seen no rows. Those that stay
    /// as they are keep their state; of the others the ids are given: [`Engine::rebuild`] them
    /// from the rows of their [`Engine::lookback_of`]. One that reads what others find is made
    /// again together with them.
    pub fn take_over(&mut self, planned: Self) -> BTreeSet<String> {
        let Self { mut detections, index, .. } = planned;
        let before = std::mem::take(&mut self.detections);
        let known = |running: &Running| before.iter().position(|old| old.is_as(running));
        let mut from: Vec<Option<usize>> = detections.iter().map(known).collect();
        let chains = detections.iter().zip(&from);
        if chains.into_iter().any(|(running, from)| running.is_chain() && from.is_none()) {
            from.fill(None);
        }
        let mut new = BTreeSet::new();
        for (running, from) in detections.iter_mut().zip(&from) {
            match from.and_then(|at| before.get(at)) {
                Some(old) => (running.rows, running.nanos) = (old.rows, old.nanos),
                None => drop(new.insert(running.detection().id.clone())),
            }
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
        new
    }

    /// Takes in rows that other detections have had already, for these alone; gives what they find
    /// at once. The rest comes when time is looked at next. What is counted of events as they
    /// arrive is not counted again.
    pub fn rebuild(&mut self, ids: &BTreeSet<String>, batch: &RecordBatch, now: i64) -> Outcome {
        let numbered = self.detections.iter().enumerate();
        let only = numbered.filter(|(_, running)| ids.contains(&running.detection().id));
        let only: BTreeSet<usize> = only.map(|(number, _)| number).collect();
        let Outcome { findings, faults, .. } = self.take_in(batch, now, Some(&only));
        Outcome { findings, faults, ..Outcome::default() }
    }

    /// The rows of which state was made so far arrived from `since` on: what happened before can
    /// only be asked of history.
    pub fn remembered(&mut self, since: i64) {
        self.known_from = since.saturating_add(self.settings.patience.skew);
        self.know_from(self.known_from, |_| true);
    }

    /// As [`Engine::remembered`], for these detections alone, and before they are rebuilt.
    pub fn rebuilt_from(&mut self, ids: &BTreeSet<String>, since: i64) {
        let known_from = since.saturating_add(self.settings.patience.skew);
        self.know_from(known_from, |running| ids.contains(&running.detection().id));
    }

    fn know_from(&mut self, known_from: i64, wanted: impl Fn(&Running) -> bool) {
        let Self { detections, clusters, .. } = self;
        let told_from = told_from(detections, known_from);
        for cluster in clusters.values_mut() {
            let states = detections.iter().zip(&mut cluster.states);
            for (running, kept) in states.filter(|(running, _)| wanted(running)) {
                kept.told_from = kept.told_from.max(told_from(running));
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
            Execution::FirstSeen(of) => {
                let mut conditions = running.conditions.clone();
                // What is exempt was never seen.
                conditions.extend(running.hidden().map(Expr::is_not_true));
                Some(LongMemory {
                    detection: running.detection().id.clone(),
                    conditions,
                    key: running.expressions(&of.novelty().key),
                    lookback: of.novelty().lookback,
                })
            }
            _ => None,
        };
        self.detections.iter().filter_map(memory).collect()
    }

    /// A key of a long memory, as rows of one cluster whose columns are those of
    /// [`LongMemory::key`], was seen from `first` to `last`.
    pub fn recall(&mut self, memory: &LongMemory, cluster: &str, seen: &Seen) {
        let at = self.detections.iter().position(|of| of.detection().id == memory.detection);
        let Some(at) = at else { return };
        self.cluster(cluster);
        let states = self.clusters.get_mut(cluster).map(|cluster| &mut cluster.states);
        let state = states.and_then(|states| states.get_mut(at));
        if let (Some(Running { execution: Execution::FirstSeen(of), .. }), Some(kept)) =
            (self.detections.get(at), state)
            && let State::FirstSeen(state) = &mut kept.state
        {
            of.remember(state, key_bytes(&seen.key).into(), seen.first, seen.last);
        }
    }

    /// Hands findings that were made elsewhere to the detections that read what others find; gives
    /// what these find.
    pub fn found_elsewhere(&mut self, findings: &[Finding], now: i64) -> Outcome {
        let mut outcome = Outcome::default();
        if !self.detections.iter().any(Running::is_chain) {
            return outcome;
        }
        let names: BTreeSet<&str> = findings.iter().map(|of| of.cluster.as_str()).collect();
        for name in names {
            self.cluster(name);
            let Self { runtime, detections, clusters, .. } = self;
            let Some(cluster) = clusters.get_mut(name) else { continue };
            let first = outcome.findings.len();
            let told = findings.iter().filter(|finding| finding.cluster == name).cloned();
            outcome.findings.extend(told);
            let own = outcome.findings.len();
            let ask = Ask::Ripe { watermark: cluster.watermark.reached() };
            let now = Now { cluster: name, ask, time: now, limited: false, sharers: 1, first };
            cluster.evaluate(runtime, detections, &now, &mut outcome);
            // What was told is known.
            outcome.findings.drain(first..own);
        }
        outcome
    }

    /// How far back in arrival the events lie of which the state at any moment is made,
    /// microseconds: of open buckets and windows, and of those that are held for late events.
    pub fn lookback(&self) -> i64 {
        self.lookback_where(|_| true)
    }

    /// As [`Engine::lookback`], for the state of these detections.
    pub fn lookback_of(&self, ids: &BTreeSet<String>) -> i64 {
        self.lookback_where(|running| ids.contains(&running.detection().id))
    }

    fn lookback_where(&self, wanted: impl Fn(&Running) -> bool) -> i64 {
        let span = |running: &Running| running.detection().dedup.saturating_add(running.length());
        let Patience { lateness, skew, idle_after } = self.settings.patience;
        let slack = lateness.saturating_add(skew).saturating_add(idle_after);
        let held = self.settings.hold.saturating_add(slack);
        // What chains read is as old as its first event, and must be found again first.
        let read = read_span(&self.detections);
        let wanted = self.detections.iter().filter(|running| wanted(running));
        let span = |running: &Running| {
            let more = if running.is_chain() { read.saturating_mul(2) } else { 0 };
            span(running).saturating_add(more)
        };
        wanted.map(span).max().unwrap_or(0).saturating_add(held)
    }
}

/// How long before it changes last the first event of a finding may lie that chains read,
/// microseconds.
pub(super) fn read_span(detections: &[Running]) -> i64 {
    let read = detections.iter().filter(|running| !running.is_chain());
    let span = |running: &Running| running.detection().dedup.saturating_add(running.length());
    read.map(span).max().unwrap_or(0)
}

/// From when on a detection tells what it finds, an edge of its buckets, when events are known that
/// happened from `known_from` on: all events of what ends there must be.
pub(super) fn told_from(
    detections: &[Running],
    known_from: i64,
) -> impl Fn(&Running) -> i64 + use<> {
    let read = read_span(detections);
    move |running| {
        if known_from == i64::MIN {
            return known_from;
        }
        let read = if running.is_chain() { read } else { 0 };
        running.edge_after(known_from.saturating_add(running.length()).saturating_add(read))
    }
}
