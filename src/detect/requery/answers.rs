//! What answers do to the state: which keys a window finds now, and the events behind them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};

use super::super::asked::{Answer, Heard};
use super::super::evidence::Evidence;
use super::super::finding::bucket;
use super::super::rows::{Columns, Events, key_bytes};
use super::super::standing::Standing;
use super::super::value::Value;
use super::{Found, Key, Keyed, Requery, State, TRIES_MAX};

impl Requery {
    /// Listens for an answer from apart; false while one is waited for.
    pub(super) fn hear(
        &self,
        state: &mut State,
        cluster: &str,
        faults: &mut Vec<DataFusionError>,
        changed: &mut BTreeSet<(Key, i64)>,
    ) -> bool {
        match self.asked_apart.hear(cluster) {
            Heard::Nothing => true,
            Heard::NotYet => false,
            Heard::Answer(end, answer, took) => {
                state.spent += took;
                // It may be forgotten by now, or ask for more.
                let is_over = end < state.told_from;
                if (is_over || self.settle(state, end, answer, faults, changed))
                    && !state.is_outdated
                {
                    state.dirty.remove(&end);
                }
                // What it took is to be rested from first.
                false
            }
        }
    }

    /// Takes note of an answer; false when there is none, and the window is to be asked again.
    pub(super) fn settle(
        &self,
        state: &mut State,
        end: i64,
        answer: Result<Answer>,
        faults: &mut Vec<DataFusionError>,
        changed: &mut BTreeSet<(Key, i64)>,
    ) -> bool {
        let Err(error) = answer.and_then(|answer| self.note(state, end, &answer, changed)) else {
            state.failed.remove(&end);
            return true;
        };
        faults.push(error);
        let tries = state.failed.entry(end).or_default();
        *tries += 1;
        if *tries >= TRIES_MAX {
            state.failed.remove(&end);
            state.dirty.remove(&end);
        }
        false
    }

    /// Takes note of which keys the query finds now in a window.
    fn note(
        &self,
        state: &mut State,
        end: i64,
        answer: &Answer,
        changed: &mut BTreeSet<(Key, i64)>,
    ) -> Result<()> {
        let mut found = Found::new();
        for result in &answer.found {
            let shown = Columns::of(result, |name| !name.starts_with("__key_"));
            let key = Columns::of(result, |name| name.starts_with("__key_"));
            for row in 0..result.num_rows() {
                let (values, row) = (key.values(row), shown.named(row));
                // Of several rows of a key the smallest is shown, whatever order they came in.
                match found.entry(key_bytes(&values)) {
                    Entry::Occupied(mut kept) if row < kept.get().1 => kept.get_mut().1 = row,
                    Entry::Occupied(_) => {}
                    Entry::Vacant(place) => drop(place.insert((values, row))),
                }
            }
        }
        let evidence = self.evidence(&found, &answer.evidence)?;
        let bucket = bucket(&self.detection, end);
        let before = state.fired.remove(&end).unwrap_or_default();
        for key in before.iter().filter(|key| !found.contains_key(*key)) {
            if let Some(keyed) = state.keys.get_mut(key) {
                keyed.standing.not_found(end);
                changed.insert((key.clone(), bucket));
            }
        }
        let keys: BTreeSet<Key> = found.keys().cloned().collect();
        for (key, (_, row)) in found {
            let keyed = state
                .keys
                .entry(key.clone())
                .or_insert_with(|| Keyed { panes: BTreeMap::new(), standing: Standing::default() });
            let start = end.saturating_sub(self.window.length);
            let panes = evidence.get(&key).cloned().unwrap_or_default();
            // Findings move and go, events do not.
            keyed.panes.retain(|pane, _| !(start..end).contains(pane) || panes.contains_key(pane));
            keyed.panes.extend(panes);
            let events = keyed.panes.range(start..end).map(|(_, evidence)| evidence.count()).sum();
            keyed.standing.found(end, events, row);
            changed.insert((key, bucket));
        }
        if !keys.is_empty() {
            state.fired.insert(end, keys);
        }
        Ok(())
    }

    /// The events of a window by key and pane, for the keys that it found.
    fn evidence(
        &self,
        found: &Found,
        rows: &[RecordBatch],
    ) -> Result<HashMap<Key, BTreeMap<i64, Evidence>>> {
        // Several keys may agree in what the evidence rows carry.
        let mut wanted: HashMap<Key, Vec<&Key>> = HashMap::new();
        for (key, (values, _)) in found {
            let carried: Vec<Value> =
                self.plans.evidence_key.iter().filter_map(|at| values.get(*at).cloned()).collect();
            wanted.entry(key_bytes(&carried)).or_default().push(key);
        }
        let mut evidence: HashMap<Key, BTreeMap<i64, Evidence>> = HashMap::new();
        for result in rows {
            let events = Events::of(result)?;
            let carried = Columns::of(result, |name| name.starts_with("__key_"));
            for row in 0..result.num_rows() {
                let Some(keys) = wanted.get(&key_bytes(&carried.values(row))) else { continue };
                let time = events.time(row);
                let pane = self.window.pane(time);
                for key in keys {
                    let panes = evidence.entry((*key).clone()).or_default();
                    panes.entry(pane).or_default().insert(time, || events.at(row));
                }
            }
        }
        Ok(evidence)
    }
}
