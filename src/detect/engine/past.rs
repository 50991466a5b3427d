//! What an engine makes of the past: at a start, and when its detections change.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use datafusion::logical_expr::Expr;

use super::super::cluster::Cluster;
use super::super::execution::{Execution, State};
use super::super::finding::Finding;
use super::super::rows::key_bytes;
use super::super::running::{Kept, Running};
use super::super::value::Value;
use super::super::watermark::Patience;
use super::{Ask, Engine, Now, Outcome};
use crate::event::lookback::Lookback;

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
    /// What would begin anew if this engine went on with the detections of another: the ids of
    /// those that are not here or are not the same. One that reads what others find is made again
    /// together with them.
    #[must_use]
    pub fn changed(&self, planned: &Self) -> BTreeSet<String> {
        let from = places(&self.detections, &planned.detections);
        let new = planned.detections.iter().zip(from).filter(|(_, from)| from.is_none());
        new.map(|(running, _)| running.detection().id.clone()).collect()
    }

    /// Goes on with the detections of another engine. Those that stay as they are keep their state;
    /// of the others ([`Engine::changed`]) the other engine's is taken, which was made of the rows
    /// of their [`Engine::looks_back`] by [`Engine::rebuild`].
    pub fn take_over(&mut self, planned: Self) {
        let Self { mut detections, index, exemptions, clusters: mut made, known, .. } = planned;
        let before = std::mem::take(&mut self.detections);
        let from = same(&before, &detections);
        for (running, from) in detections.iter_mut().zip(&from) {
            if let Some(old) = from.and_then(|at| before.get(at)) {
                (running.rows, running.nanos) = (old.rows, old.nanos);
            }
        }
        let before_known = self.known.as_ref();
        // What is planned anew is the same plan: a state fits either.
        let states = |cluster: &str, old: Vec<Kept>, made: Vec<Kept>| -> Vec<Kept> {
            let told_from_of = |known| told_from(&detections, known_from(known, cluster));
            let new_told_from = told_from_of(known.as_ref());
            let old_told_from = told_from_of(before_known);
            let mut old: Vec<Option<Kept>> = old.into_iter().map(Some).collect();
            let mut made: Vec<Option<Kept>> = made.into_iter().map(Some).collect();
            let kept = detections.iter().zip(&from).enumerate();
            let kept = kept.map(|(number, (running, from))| {
                if let Some(at) = from {
                    let state = old.get_mut(*at).and_then(Option::take);
                    state.unwrap_or_else(|| running.start(old_told_from(running)))
                } else {
                    let state = made.get_mut(number).and_then(Option::take);
                    state.unwrap_or_else(|| running.start(new_told_from(running)))
                }
            });
            kept.collect()
        };
        for (name, cluster) in &mut self.clusters {
            let made = made.remove(name).map(|cluster| cluster.states).unwrap_or_default();
            cluster.states = states(name, std::mem::take(&mut cluster.states), made);
        }
        // Clusters that sent nothing for so long that only the others look back to them.
        for (name, cluster) in made {
            let states = states(&name, Vec::new(), cluster.states);
            self.clusters.insert(name, Cluster { states, ..cluster });
        }
        (self.detections, self.index, self.exemptions) = (detections, index, exemptions);
    }

    /// Takes in rows that other detections have had already, for these alone; gives what they find
    /// at once, and what is to be asked of history. The rest comes when time is looked at next.
    /// What is counted of events as they arrive is not counted again.
    pub fn rebuild(&mut self, ids: &BTreeSet<String>, batch: &RecordBatch, now: i64) -> Outcome {
        let numbered = self.detections.iter().enumerate();
        let only = numbered.filter(|(_, running)| ids.contains(&running.detection().id));
        let only: BTreeSet<usize> = only.map(|(number, _)| number).collect();
        let Outcome { findings, faults, beyond, .. } = self.take_in(batch, now, Some(&only));
        Outcome { findings, faults, beyond, ..Outcome::default() }
    }

    /// State was made of these rows so far: what happened before can only be asked of history.
    pub fn remembered(&mut self, lookback: Lookback) {
        let known = Some(lookback);
        for (name, cluster) in &mut self.clusters {
            let known_from = known_from(known.as_ref(), name);
            let told_from = told_from(&self.detections, known_from);
            for (running, kept) in self.detections.iter().zip(&mut cluster.states) {
                kept.told_from = kept.told_from.max(told_from(running));
                running.execution.forget(&mut kept.state, kept.told_from);
            }
        }
        self.known = known;
    }

    /// The past of a cluster reaches back to this event time.
    pub fn reaches(&mut self, cluster: &str, time: i64) {
        self.cluster(cluster);
        let Self { detections, clusters, .. } = self;
        let Some(cluster) = clusters.get_mut(cluster) else { return };
        for (running, kept) in detections.iter().zip(&mut cluster.states) {
            running.execution.reaches(&mut kept.state, time);
            // It was known before.
            drop(running.asks(kept, "", i64::MAX));
        }
    }

    /// The cluster's first event, microseconds of event time, if a detection asks for it.
    #[must_use]
    pub fn began(&self, cluster: &str) -> Option<i64> {
        let states = &self.clusters.get(cluster)?.states;
        states.iter().filter_map(|kept| kept.state.began()).min()
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

    /// Keys of a long memory and when they were seen, of history: `cluster`, the columns of
    /// [`LongMemory::key`], the first and the last time in microseconds of event time.
    pub fn recall_rows(&mut self, memory: &LongMemory, rows: &RecordBatch) {
        for row in 0..rows.num_rows() {
            if let [Value::Text(cluster), key @ .., Value::Int(first), Value::Int(last)] =
                Value::row(rows, row).as_slice()
            {
                let seen = Seen { key: key.to_vec(), first: *first, last: *last };
                self.recall(memory, cluster, &seen);
            }
        }
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
            let Self { runtime, settings, detections, clusters, apart, .. } = self;
            let (limits, apart) = (settings.limits(clusters.len()), apart.as_ref());
            let Some(cluster) = clusters.get_mut(name) else { continue };
            let first = outcome.findings.len();
            let told = findings.iter().filter(|finding| finding.cluster == name).cloned();
            outcome.findings.extend(told);
            let own = outcome.findings.len();
            let ask = Ask::Ripe { watermark: cluster.watermark.reached() };
            let now = Now { cluster: name, ask, ask_chains: ask, time: now, limits, apart, first };
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

    /// Of which rows the state is made at a moment, of all detections or of these: `now` is when
    /// the last of them arrived, microseconds, with the watermark of each cluster then.
    ///
    /// What is over has been told. Where a watermark is further behind than events are held, more
    /// is needed than what arrived lately: windows are open of events that arrived before.
    pub fn looks_back<'a>(
        &self,
        ids: Option<&BTreeSet<String>>,
        now: i64,
        watermarks: impl IntoIterator<Item = (&'a str, i64)>,
    ) -> Lookback {
        let is_wanted =
            |running: &Running| ids.is_none_or(|ids| ids.contains(&running.detection().id));
        let span = self.lookback_where(is_wanted);
        let Patience { lateness, idle_after, .. } = self.settings.patience;
        let usual = now.saturating_sub(lateness).saturating_sub(idle_after);
        let behind = usual.saturating_sub(self.settings.hold);
        let late = watermarks.into_iter().filter(|(_, reached)| *reached < behind);
        let further = late.map(|(name, reached)| (name.to_owned(), reached.saturating_sub(span)));
        Lookback { since: now.saturating_sub(span), further: further.collect() }
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

/// Where the state of each detection is that goes on: the places of those before that are the same.
fn same(before: &[Running], detections: &[Running]) -> Vec<Option<usize>> {
    let place = |running: &Running| before.iter().position(|old| old.is_as(running));
    detections.iter().map(place).collect()
}

/// As [`same`], of which nothing is read again: of none when there is a new one that reads what
/// others find, for they must find it again.
fn places(before: &[Running], detections: &[Running]) -> Vec<Option<usize>> {
    let mut from = same(before, detections);
    let mut chains = detections.iter().zip(&from);
    if chains.any(|(running, from)| running.is_chain() && from.is_none()) {
        from.fill(None);
    }
    from
}

/// How long before it changes last the first event of a finding may lie that chains read,
/// microseconds.
pub(super) fn read_span(detections: &[Running]) -> i64 {
    let read = detections.iter().filter(|running| !running.is_chain());
    let span = |running: &Running| running.detection().dedup.saturating_add(running.length());
    read.map(span).max().unwrap_or(0)
}

/// From which event time on all of a cluster is known, when state was made of these rows.
pub(super) fn known_from(known: Option<&Lookback>, cluster: &str) -> i64 {
    known.map_or(i64::MIN, |known| known.known_from(cluster))
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
