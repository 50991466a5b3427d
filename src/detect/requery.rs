//! Windowed detections by re-running the plain query over the buffered windows that changed.
//!
//! Slow and plain on purpose: what it finds is what the query says about each window. It is the
//! way of queries that no faster one can run: joins, window functions, set operations.

mod answers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};

use super::aged::gone_up_to;
use super::asked::{AskedApart, Plans};
use super::chain::{Feed, Told};
use super::cluster::Now;
use super::detection::{Detection, Window};
use super::evidence::Evidence;
use super::finding::{Finding, bucket};
use super::held::Held;
use super::row::Row;
use super::rows::event_times;
use super::standing::{About, Standing};
use super::value::Value;

/// How long a call may go on with one window after the other.
const CALL_MAX: Duration = Duration::from_secs(1);
/// How often a window is asked that fails; it is asked anew when it changes.
const TRIES_MAX: u32 = 3;
/// How many windows may fail at the end of the input.
const FAULTS_MAX: usize = 3;

/// A windowed detection; its state is kept per cluster in [`State`].
#[derive(Debug)]
pub(crate) struct Requery {
    detection: Arc<Detection>,
    window: Window,
    plans: Arc<Plans>,
    /// What it reads of findings, if it reads findings.
    feed: Option<Arc<Feed>>,
    asked_apart: AskedApart,
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
    /// The window that was last asked apart, and whether it has changed since.
    asked: i64,
    is_outdated: bool,
    /// What was spent apart since that was last looked at.
    spent: Duration,
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

    /// What was spent apart since that was last asked.
    pub(crate) fn spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
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
    /// Those that end by then: nobody waits for an answer.
    Closed {
        /// Event time.
        watermark: i64,
    },
    /// All of them: the input has ended.
    All,
}

impl Requery {
    pub(crate) fn new(detection: Arc<Detection>, plans: Plans) -> Self {
        let window = detection.window.expect("a windowed detection has a window");
        let (plans, asked_apart) = (Arc::new(plans), AskedApart::default());
        Self { detection, window, plans, feed: None, asked_apart }
    }

    /// The same over findings.
    pub(crate) fn reading(self, feed: Feed) -> Self {
        Self { feed: Some(Arc::new(feed)), ..self }
    }

    /// What it reads of findings.
    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.as_deref()
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
            held: match &self.feed {
                Some(feed) => Held::findings(self.window, Arc::clone(feed)),
                None => Held::events(self.window),
            },
            dirty: BTreeSet::new(),
            keys: HashMap::new(),
            fired: BTreeMap::new(),
            told_from: i64::MIN,
            latest: i64::MIN,
            capped_to: i64::MIN,
            failed: BTreeMap::new(),
            asked: i64::MIN,
            is_outdated: false,
            spent: Duration::ZERO,
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
    pub(crate) fn take_findings(&self, state: &mut State, told: &Told) -> Result<()> {
        if let Held::Findings(buffer) = &mut state.held {
            let panes = buffer.upsert(told)?;
            state.latest = state.latest.max(panes.last().copied().unwrap_or(i64::MIN));
            self.changed(state, &panes);
        }
        Ok(())
    }

    fn changed(&self, state: &mut State, panes: &BTreeSet<i64>) {
        let ends = panes.iter().flat_map(|pane| self.window.ends(*pane));
        for end in ends.filter(|end| *end >= state.told_from) {
            state.dirty.insert(end);
            state.is_outdated |= end == state.asked;
        }
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
            Ask::Ripe { .. } if self.plans.monotone => state.dirty.iter().copied().collect(),
            Ask::Ripe { watermark } | Ask::Closed { watermark } => {
                state.dirty.range(..=watermark).copied().collect()
            }
            Ask::All => state.dirty.iter().copied().collect(),
        };
        let mut changed = BTreeSet::new();
        let is_free = self.hear(state, cluster, faults, &mut changed);
        for end in ripe.into_iter().take_while(|_| is_free) {
            if now.limits.limited && begun.elapsed() > CALL_MAX {
                break;
            }
            // An answer from apart has come.
            if !state.dirty.contains(&end) {
                continue;
            }
            let Some(rows) = state.held.window(end) else {
                state.dirty.remove(&end);
                continue;
            };
            let answer = match now.apart {
                None => self.plans.answer(rows).await,
                Some(apart) => {
                    let is_slow = self.asked_apart.is_slow();
                    let soon =
                        if is_slow { None } else { self.plans.answer_soon(rows.clone()).await };
                    let Some(answer) = soon else {
                        (state.asked, state.is_outdated) = (end, false);
                        self.asked_apart.ask(apart, &self.plans, (cluster, end), rows);
                        break;
                    };
                    answer
                }
            };
            if self.settle(state, end, answer, faults, &mut changed) {
                state.dirty.remove(&end);
                continue;
            }
            if ask != Ask::All {
                break;
            }
            // The input has ended, and nothing will be better.
            state.dirty.remove(&end);
            if faults.len() >= FAULTS_MAX {
                faults.push(given_up(state.dirty.len()));
                state.dirty.clear();
            }
            if state.dirty.is_empty() {
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

fn given_up(windows: usize) -> DataFusionError {
    DataFusionError::Execution(format!("{windows} more windows were not asked"))
}
