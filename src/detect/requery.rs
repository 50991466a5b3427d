//! Windowed detections by re-running the plain query over the buffered windows that changed.
//!
//! Slow and plain on purpose: what it finds is what the query says about each window. It is the
//! way of queries that no faster one can run: joins, window functions, set operations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use tokio::time::timeout;

use super::aged::gone_up_to;
use super::cluster::Now;
use super::compiled::Compiled;
use super::detection::{Detection, Kind, Window};
use super::evidence::Evidence;
use super::finding::{Finding, bucket};
use super::held::Held;
use super::row::Row;
use super::rows::{Columns, Events, event_times, key_bytes};
use super::standing::{About, Standing};
use super::value::Value;

/// How long a call may go on with one window after the other.
const CALL_MAX: Duration = Duration::from_secs(1);
/// How long the query may take over one window.
const WINDOW_MAX: Duration = Duration::from_secs(5);
/// How often a window is asked that fails; it is asked anew when it changes.
const TRIES_MAX: u32 = 3;
/// How many windows may fail at the end of the input.
const FAULTS_MAX: usize = 3;

/// The plans of a windowed detection, and how its key is read from their results.
#[derive(Debug)]
pub(crate) struct Plans {
    /// The query over one window, its key columns appended as `__key_N`.
    pub(crate) query: Compiled,
    /// One row per event of a window: `__key_N`, then the event columns.
    pub(crate) evidence: Compiled,
    /// Names of the key columns, without the cluster.
    pub(crate) key: Arc<[String]>,
    /// Which key columns the evidence rows carry.
    pub(crate) evidence_key: Vec<usize>,
    /// A row that appeared stays while events come.
    pub(crate) monotone: bool,
}

/// A windowed detection; its state is kept per cluster in [`State`].
#[derive(Debug)]
pub(crate) struct Requery {
    detection: Arc<Detection>,
    window: Window,
    plans: Plans,
}

/// What a key takes that is found, besides its bytes, its events and what is said of it.
const KEY_BYTES: usize = 2 * size_of::<(Key, Keyed)>();

type Key = Vec<u8>;
/// The keys that a window finds, with their values and rows.
type Found = BTreeMap<Key, (Vec<Value>, Row)>;

/// One cluster's buffered rows, and what its windows said when they were last asked.
#[derive(Debug)]
pub(crate) struct State {
    held: Held,
    /// Ends of windows that changed since they were last asked.
    dirty: BTreeSet<i64>,
    keys: HashMap<Key, Keyed>,
    /// Keys that a window (by its end) found.
    fired: BTreeMap<i64, BTreeSet<Key>>,
    /// Windows that end before this, a bucket's edge, are forgotten.
    told_from: i64,
    /// The largest event time.
    latest: i64,
    /// Rows were dropped while windows that begin before this were open.
    capped_to: i64,
    /// Windows that failed, and how often.
    failed: BTreeMap<i64, u32>,
}

#[derive(Debug)]
struct Keyed {
    /// The key's events in each pane of the windows that found it.
    panes: BTreeMap<i64, Evidence>,
    standing: Standing,
}

impl Keyed {
    fn weigh(&self, key: &[u8]) -> usize {
        let panes = self.panes.len() * 2 * size_of::<(i64, Evidence)>();
        KEY_BYTES + 2 * key.len() + panes + self.standing.bytes()
    }
}

impl State {
    /// The end of the first window that is still to be asked.
    pub(crate) fn owed(&self) -> Option<i64> {
        self.dirty.first().copied()
    }

    /// Events up to this time were not judged.
    pub(crate) fn misses(&mut self, latest: i64) {
        self.capped_to = self.capped_to.max(latest);
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

/// When to ask the windows that changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Those whose answer can be trusted: closed, or of a query that can only become true.
    Ripe {
        /// Event time up to which windows are closed.
        watermark: i64,
    },
    /// All of them: the input has ended.
    All,
}

impl Requery {
    pub(crate) fn new(detection: Arc<Detection>, plans: Plans) -> Self {
        let window = detection.window.expect("a windowed detection has a window");
        Self { detection, window, plans }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    /// What it runs, and how its key is read.
    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    pub(crate) fn state(&self) -> State {
        State {
            held: match self.detection.kind {
                Kind::OverFindings => Held::findings(self.window),
                _ => Held::events(self.window),
            },
            dirty: BTreeSet::new(),
            keys: HashMap::new(),
            fired: BTreeMap::new(),
            told_from: i64::MIN,
            latest: i64::MIN,
            capped_to: i64::MIN,
            failed: BTreeMap::new(),
        }
    }

    /// Buffers the intake's rows of new events of one cluster.
    pub(crate) fn take_in(&self, state: &mut State, rows: &RecordBatch) -> Result<()> {
        let times = event_times(rows)?;
        state.latest = times.iter().copied().fold(state.latest, i64::max);
        if let Held::Events(buffer) = &mut state.held {
            let panes = buffer.insert(rows, times)?;
            self.changed(state, &panes);
        }
        Ok(())
    }

    /// Takes in findings that are new or changed.
    pub(crate) fn take_findings(&self, state: &mut State, findings: &[Finding]) -> Result<()> {
        if let Held::Findings(buffer) = &mut state.held {
            let panes = buffer.upsert(findings)?;
            state.latest = state.latest.max(panes.last().copied().unwrap_or(i64::MIN));
            self.changed(state, &panes);
        }
        Ok(())
    }

    fn changed(&self, state: &mut State, panes: &BTreeSet<i64>) {
        let ends = panes.iter().flat_map(|pane| self.window.ends(*pane));
        state.dirty.extend(ends.filter(|end| *end >= state.told_from));
    }

    /// Asks the windows that changed and are to be asked, while there is time; gives the findings
    /// that changed. A window that fails is asked again later, a few times.
    pub(crate) async fn evaluate(
        &self,
        state: &mut State,
        now: &Now<'_>,
        faults: &mut Vec<DataFusionError>,
    ) -> Vec<Finding> {
        let (begun, cluster, ask) = (Instant::now(), now.cluster, now.ask);
        let ripe: Vec<i64> = match ask {
            Ask::Ripe { watermark } if !self.plans.monotone => {
                state.dirty.range(..=watermark).copied().collect()
            }
            Ask::Ripe { .. } | Ask::All => state.dirty.iter().copied().collect(),
        };
        let mut changed = BTreeSet::new();
        for end in ripe {
            if now.limited && begun.elapsed() > CALL_MAX {
                break;
            }
            let Some(rows) = state.held.window(end) else {
                state.dirty.remove(&end);
                continue;
            };
            let answer = timeout(WINDOW_MAX, self.ask(state, end, rows, &mut changed)).await;
            let Err(error) = answer.unwrap_or_else(|_| Err(too_long())) else {
                state.dirty.remove(&end);
                state.failed.remove(&end);
                continue;
            };
            faults.push(error);
            let tries = state.failed.entry(end).or_default();
            *tries += 1;
            if *tries >= TRIES_MAX || ask == Ask::All {
                state.dirty.remove(&end);
                state.failed.remove(&end);
            }
            // The input has ended, and nothing will be better.
            if ask == Ask::All && faults.len() >= FAULTS_MAX {
                faults.push(given_up(state.dirty.len()));
                state.dirty.clear();
            }
            if ask != Ask::All || state.dirty.is_empty() {
                break;
            }
        }
        let mut findings = Vec::new();
        for (key, bucket) in changed {
            findings.extend(self.revise(state, cluster, &key, bucket));
        }
        findings
    }

    /// Forgets windows that end before `told_from`, a bucket's edge.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        state.told_from = state.told_from.max(told_from);
        let told_from = state.told_from;
        let first = told_from.saturating_sub(self.window.length);
        state.held.forget(first);
        state.dirty = state.dirty.split_off(&told_from);
        state.failed = state.failed.split_off(&told_from);
        state.fired = state.fired.split_off(&told_from);
        state.keys.retain(|_, keyed| {
            keyed.panes = keyed.panes.split_off(&first);
            keyed.standing.forget(told_from, bucket(&self.detection, told_from));
            !keyed.standing.is_empty()
        });
    }

    /// Drops the oldest rows that do not fit into `bytes_max`.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        if state.held.cap(bytes_max) {
            state.capped_to = state.latest;
        }
        // Of keys, those that were found longest ago.
        let last = |keyed: &Keyed| keyed.panes.last_key_value().map(|(pane, _)| *pane);
        let ages = state.keys.iter().map(|(key, keyed)| (last(keyed), keyed.weigh(key))).collect();
        if let Some(newest) = gone_up_to(ages, bytes_max / 2) {
            state.keys.retain(|_, keyed| last(keyed) > newest);
            state.capped_to = state.latest;
        }
    }

    /// Bytes that the state takes.
    pub(crate) fn bytes(state: &State) -> usize {
        let keys: usize = state.keys.iter().map(|(key, keyed)| keyed.weigh(key)).sum();
        state.held.bytes() + keys
    }

    /// Runs the query over one window and takes note of which keys it finds now.
    async fn ask(
        &self,
        state: &mut State,
        end: i64,
        rows: Vec<RecordBatch>,
        changed: &mut BTreeSet<(Key, i64)>,
    ) -> Result<()> {
        let mut found = Found::new();
        for result in self.plans.query.run(rows.clone()).await? {
            let shown = Columns::of(&result, |name| !name.starts_with("__key_"));
            let key = Columns::of(&result, |name| name.starts_with("__key_"));
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
        let evidence =
            if found.is_empty() { HashMap::new() } else { self.evidence(&found, rows).await? };
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
    async fn evidence(
        &self,
        found: &Found,
        rows: Vec<RecordBatch>,
    ) -> Result<HashMap<Key, BTreeMap<i64, Evidence>>> {
        // Several keys may agree in what the evidence rows carry.
        let mut wanted: HashMap<Key, Vec<&Key>> = HashMap::new();
        for (key, (values, _)) in found {
            let carried: Vec<Value> =
                self.plans.evidence_key.iter().filter_map(|at| values.get(*at).cloned()).collect();
            wanted.entry(key_bytes(&carried)).or_default().push(key);
        }
        let mut evidence: HashMap<Key, BTreeMap<i64, Evidence>> = HashMap::new();
        for result in self.plans.evidence.run(rows).await? {
            let events = Events::of(&result)?;
            let carried = Columns::of(&result, |name| name.starts_with("__key_"));
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

    /// What is to be said now about a key in a bucket; `None` when it is what was said before.
    fn revise(&self, state: &mut State, cluster: &str, key: &Key, bucket: i64) -> Option<Finding> {
        let first = bucket.saturating_mul(self.detection.dedup);
        let incomplete = first.saturating_sub(self.window.length) < state.capped_to;
        let Keyed { panes, standing } = state.keys.get_mut(key)?;
        let panes: Vec<(i64, &Evidence)> =
            panes.iter().map(|(start, evidence)| (*start, evidence)).collect();
        let about = About {
            detection: &self.detection,
            cluster,
            names: &self.plans.key,
            key,
            panes: &panes,
            incomplete,
        };
        standing.revise(&about, bucket)
    }
}

fn too_long() -> DataFusionError {
    let limit = WINDOW_MAX.as_secs();
    DataFusionError::Execution(format!("it took longer than {limit} seconds over one window"))
}

fn given_up(windows: usize) -> DataFusionError {
    DataFusionError::Execution(format!("{windows} more windows were not asked"))
}
