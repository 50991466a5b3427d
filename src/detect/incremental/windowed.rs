//! Windows put together from panes, asked when something in them changed.

use std::collections::{BTreeMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::super::detection::{Detection, Window};
use super::super::finding::{Finding, bucket};
use super::super::requery::Ask;
use super::super::rows::{Events, KeyCells};
use super::super::standing::About;
use super::aggregate::{Aggregate, Partial};
use super::argument::Argument;
use super::distinct::Union;
use super::plan::Plan;
use super::table::{At, Pane, Slot, Table, within};

/// How many groups are asked at once.
const ASK_MAX: usize = 8_192;
/// How many touched panes are noted before repeats are thrown out.
const TOUCHED_MAX: usize = 1 << 16;
/// How many keys are looked at in one sweep.
const SWEEP_KEYS: usize = 50_000;

/// A windowed detection with incremental state, kept per cluster in [`State`].
#[derive(Debug)]
pub(crate) struct Windowed {
    detection: Arc<Detection>,
    window: Window,
    plan: Plan,
    seed: RandomState,
}

/// One cluster's keys and what is still to be asked of them.
#[derive(Debug)]
pub(crate) struct State {
    table: Table,
    /// Panes that changed since windows were last asked.
    touched: Vec<(At, i64)>,
    touched_max: usize,
    /// Panes of windows that are not closed yet, and whose keys changed. Not kept where all is
    /// asked at once.
    pending: BTreeMap<i64, HashSet<At>>,
    /// Windows up to this end were closed and asked.
    asked: i64,
    /// Windows that end before this, a bucket's edge, are forgotten.
    told_from: i64,
    /// The largest event time.
    latest: i64,
    /// Keys were given up while windows that begin before this were open.
    capped_to: i64,
}

impl Windowed {
    pub(crate) fn new(detection: Arc<Detection>, plan: Plan) -> Self {
        let window = detection.window.expect("a windowed detection has a window");
        Self { detection, window, plan, seed: RandomState::new() }
    }

    /// How its query is taken apart.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn state(&self) -> State {
        State {
            table: Table::new(self.seed.clone()),
            touched: Vec::new(),
            touched_max: TOUCHED_MAX,
            pending: BTreeMap::new(),
            asked: i64::MIN,
            told_from: i64::MIN,
            latest: i64::MIN,
            capped_to: i64::MIN,
        }
    }

    /// Takes in the intake's columns of new events of one cluster.
    pub(crate) fn take_in(&self, state: &mut State, rows: &RecordBatch) -> Result<()> {
        let events = Events::of(rows)?;
        let keys = rows.columns().get(..self.plan.names.len()).unwrap_or_default();
        let keys = KeyCells::of(keys);
        let arguments = self.plan.aggregates.iter();
        let arguments = arguments.map(|aggregate| Argument::of(aggregate, rows, &self.seed));
        let arguments = arguments.collect::<Result<Vec<Argument<'_>>>>()?;
        let gathers = self.plan.aggregates.iter().any(Aggregate::is_other);
        let mut gathered = Vec::new();
        let mut key = Vec::new();
        let first = state.touched.len();
        for row in 0..rows.num_rows() {
            let time = events.time(row);
            let start = self.window.pane(time);
            // No window that is still told has it.
            if start.saturating_add(self.window.length) < state.told_from {
                continue;
            }
            state.latest = state.latest.max(time);
            keys.write(row, &mut key);
            let at = state.table.place(&key);
            let Some(slot) = state.table.get_mut(at) else { continue };
            let pane =
                slot.pane(start, || self.plan.aggregates.iter().map(Aggregate::empty).collect());
            pane.evidence.insert(time, || events.at(row));
            for (partial, argument) in pane.partials.iter_mut().zip(&arguments) {
                argument.add(partial, row);
            }
            if gathers {
                gathered.push((at, start, u32::try_from(row).unwrap_or(u32::MAX)));
            }
            if state.touched.last() != Some(&(at, start)) {
                state.touched.push((at, start));
            }
        }
        Self::add_gathered(state, gathered, &arguments)?;
        let mut new = state.touched.split_off(first);
        new.sort_unstable();
        new.dedup();
        for (at, start) in &new {
            state.table.weigh_pane(*at, *start);
        }
        state.touched.append(&mut new);
        if state.touched.len() > state.touched_max {
            state.touched.sort_unstable();
            state.touched.dedup();
            state.touched_max = TOUCHED_MAX.max(2 * state.touched.len());
        }
        Ok(())
    }

    /// Takes in rows for DataFusion's aggregates, those of one key and pane at once.
    fn add_gathered(
        state: &mut State,
        mut gathered: Vec<(At, i64, u32)>,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        gathered.sort_unstable();
        for rows in gathered.chunk_by(|(at, pane, _), (b, other, _)| (at, pane) == (b, other)) {
            let Some((at, start, _)) = rows.first() else { continue };
            let Some(slot) = state.table.get_mut(*at) else { continue };
            let pane = slot.pane(*start, Box::default);
            for (partial, argument) in pane.partials.iter_mut().zip(arguments) {
                argument.add_rows(partial, rows.iter().map(|(_, _, row)| *row))?;
            }
        }
        Ok(())
    }

    /// Asks the windows that changed and are to be asked; gives the findings that changed.
    pub(crate) fn evaluate(
        &self,
        state: &mut State,
        cluster: &str,
        ask: Ask,
    ) -> Result<Vec<Finding>> {
        let targets = self.targets(state, ask);
        let mut changed: Vec<(At, i64)> = Vec::new();
        let mut asked: Vec<(At, i64, u64)> = Vec::new();
        let mut candidates: Vec<Vec<Partial>> = Vec::new();
        let mut seen = Union::default();
        for (at, end) in targets {
            let Some(Slot { panes, standing, .. }) = state.table.get_mut(at) else { continue };
            let panes = within(panes, &(end.saturating_sub(self.window.length)..end));
            let events = panes.iter().map(|pane| pane.evidence.count()).sum();
            // What is found stays found: then only a row that is shown is to be made again.
            if self.plan.monotone
                && events > 0
                && let Some(standing) = standing
                && standing.only_grows(&self.detection, end, events)
            {
                changed.push((at, bucket(&self.detection, end)));
                continue;
            }
            if panes.is_empty() || self.is_below(panes) {
                if standing.as_mut().is_some_and(|standing| standing.not_found(end)) {
                    changed.push((at, bucket(&self.detection, end)));
                }
                continue;
            }
            candidates.push(self.values(panes, &mut seen)?);
            asked.push((at, end, events));
            if candidates.len() >= ASK_MAX {
                self.ask(state, cluster, &mut candidates, &mut asked, &mut changed)?;
            }
        }
        self.ask(state, cluster, &mut candidates, &mut asked, &mut changed)?;
        changed.sort_unstable();
        changed.dedup();
        let findings =
            changed.into_iter().filter_map(|(at, bucket)| self.revise(state, cluster, at, bucket));
        let mut findings: Vec<Finding> = findings.collect();
        // Keys lie in no order of their own.
        findings.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(findings)
    }

    /// Which windows of which keys are to be asked now.
    fn targets(&self, state: &mut State, ask: Ask) -> Vec<(At, i64)> {
        let mut touched = std::mem::take(&mut state.touched);
        touched.sort_unstable();
        touched.dedup();
        let told_from = state.told_from;
        let ends = |pane: i64| self.window.ends(pane).filter(move |end| *end >= told_from);
        let mut targets: Vec<(At, i64)> = Vec::new();
        let closed = match ask {
            Ask::Ripe { .. } if self.plan.monotone => {
                for (at, pane) in touched {
                    if !self.is_far(&state.table, at, pane) {
                        targets.extend(ends(pane).map(|end| (at, end)));
                    }
                }
                targets.sort_unstable();
                targets.dedup();
                return targets;
            }
            Ask::Ripe { watermark } | Ask::Closed { watermark } => self.window.pane(watermark),
            Ask::All => i64::MAX,
        };
        if touched.is_empty() && closed <= state.asked {
            return targets;
        }
        for (at, pane) in touched {
            // Windows that were asked before the event came.
            targets.extend(ends(pane).filter(|end| *end <= state.asked).map(|end| (at, end)));
            state.pending.entry(pane).or_default().insert(at);
        }
        if closed > state.asked {
            for (pane, keys) in state.pending.range(..closed) {
                for end in ends(*pane).filter(|end| *end > state.asked && *end <= closed) {
                    targets.extend(keys.iter().map(|at| (*at, end)));
                }
            }
            state.asked = closed;
        }
        let over = state.asked.saturating_sub(self.window.length);
        state.pending = state.pending.split_off(&over.saturating_add(1));
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// True when no window that has a pane can have the counts that the query demands, and none is
    /// known to have had them: most keys never come near.
    fn is_far(&self, table: &Table, at: At, pane: i64) -> bool {
        let Window { length, slide, .. } = self.window;
        let from = pane.saturating_add(slide).saturating_sub(length);
        table.get(at).is_some_and(|slot| {
            let panes = within(&slot.panes, &(from..pane.saturating_add(length)));
            slot.standing.is_none() && self.is_below(panes)
        })
    }

    /// True when these panes together cannot have the counts that the query demands.
    fn is_below(&self, panes: &[Pane]) -> bool {
        self.plan.floors.iter().any(|(at, floor)| {
            let most = panes.iter().filter_map(|pane| pane.partials.get(*at));
            most.fold(0, |sum: i64, partial| sum.saturating_add(partial.at_most())) < *floor
        })
    }

    /// What the aggregates of these panes come to together.
    fn values(&self, panes: &[Pane], seen: &mut Union) -> Result<Vec<Partial>> {
        let aggregates = self.plan.aggregates.iter().enumerate();
        let values = aggregates.map(|(number, aggregate)| {
            let partials = panes.iter().filter_map(|pane| pane.partials.get(number));
            aggregate.sum(partials, seen)
        });
        values.collect()
    }

    fn ask(
        &self,
        state: &mut State,
        cluster: &str,
        candidates: &mut Vec<Vec<Partial>>,
        asked: &mut Vec<(At, i64, u64)>,
        changed: &mut Vec<(At, i64)>,
    ) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let key = |number: usize| {
            let slot = asked.get(number).and_then(|(at, ..)| state.table.get(*at));
            slot.map_or(&[] as &[u8], |slot| &slot.key)
        };
        let answers = self.plan.ask(cluster, std::mem::take(candidates), key)?;
        for (number, (at, end, events)) in asked.drain(..).enumerate() {
            let Some(slot) = state.table.get_mut(at) else { continue };
            let is_changed = match answers.row(number) {
                Some(row) => {
                    let standing = slot.standing.get_or_insert_default();
                    if self.plan.monotone {
                        standing.grown(&self.detection, end, events, row);
                    } else {
                        standing.found(end, events, row());
                    }
                    true
                }
                None => slot.standing.as_mut().is_some_and(|standing| standing.not_found(end)),
            };
            if is_changed {
                changed.push((at, bucket(&self.detection, end)));
            }
        }
        Ok(())
    }

    fn revise(&self, state: &mut State, cluster: &str, at: At, bucket: i64) -> Option<Finding> {
        let first = bucket.saturating_mul(self.detection.dedup);
        let incomplete = first.saturating_sub(self.window.length) < state.capped_to;
        let slot = state.table.get_mut(at)?;
        let Slot { key, panes, standing, .. } = slot;
        let about = About {
            detection: &self.detection,
            cluster,
            names: &self.plan.names,
            key,
            panes: panes.as_slice(),
            incomplete,
        };
        let finding = standing.as_mut()?.revise(&about, bucket);
        state.table.weigh(at);
        finding
    }

    /// Forgets windows that end before `told_from`, a bucket's edge, step by step.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        if told_from > state.told_from {
            state.told_from = told_from;
            state.table.begin_sweep();
        }
        let told_from = state.told_from;
        let first = told_from.saturating_sub(self.window.length);
        state.table.sweep(SWEEP_KEYS, |slot| {
            let old = slot.panes.partition_point(|pane| pane.start < first);
            if old > 0 {
                slot.panes.drain(..old);
                slot.panes.shrink_to_fit();
            }
            if let Some(standing) = &mut slot.standing {
                standing.forget(told_from, bucket(&self.detection, told_from));
                if standing.is_empty() {
                    slot.standing = None;
                }
            }
            !slot.panes.is_empty()
        });
    }

    /// Gives up keys that do not fit into `bytes_max`, those that found nothing first.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        if state.table.bytes() <= bytes_max {
            return;
        }
        state.capped_to = state.latest;
        // Not every batch that comes then makes others go.
        let target = bytes_max / 8 * 7;
        let is_quiet = |slot: &Slot| slot.standing.is_none();
        let quiet = state.table.bytes_of(is_quiet);
        if quiet >= state.table.bytes() - target {
            state.table.shrink(target, is_quiet);
        } else {
            if quiet > 0 {
                state.table.drop_all(is_quiet);
            }
            state.table.shrink(target, |_| true);
        }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }
}

impl State {
    /// Events up to this time were not judged.
    pub(crate) fn misses(&mut self, latest: i64) {
        self.capped_to = self.capped_to.max(latest);
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let touched = self.touched.capacity() * size_of::<(At, i64)>();
        let pending: usize = self.pending.values().map(|keys| keys.capacity() * 10 + 100).sum();
        self.table.bytes() + touched + pending
    }

    /// Number of keys.
    pub(crate) fn keys(&self) -> usize {
        self.table.len()
    }
}
