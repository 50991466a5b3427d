//! Windowed detections by re-running the plain query over the buffered windows that changed.
//!
//! Slow and plain on purpose: what it finds is what the query says about each window, so it is
//! the measure of every faster way, and the way of queries that no faster one can run.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::buffer::Buffer;
use super::compiled::Compiled;
use super::detection::{Detection, Window};
use super::evidence::Evidence;
use super::finding::{Finding, Identity, Status, bucket, render};
use super::rows::{Columns, Events, event_times, key_bytes};
use super::value::Value;

/// The plans of a windowed detection, and how its key is read from their results.
#[derive(Debug)]
pub(crate) struct Plans {
    /// Rows and columns of new events that the query can use.
    pub(crate) intake: Compiled,
    /// The query over one window, its key columns appended as `__key_N`.
    pub(crate) query: Compiled,
    /// One row per event of a window: `__key_N`, then the event columns.
    pub(crate) evidence: Compiled,
    /// Names of the key columns, without the cluster.
    pub(crate) key: Vec<String>,
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

type Key = Vec<u8>;
/// A row as it is shown: column names and values.
type Row = Vec<(String, Value)>;
/// The keys that a window finds, with their values and rows.
type Found = BTreeMap<Key, (Vec<Value>, Row)>;

/// One cluster's buffered rows, and what its windows said when they were last asked.
#[derive(Debug)]
pub(crate) struct State {
    buffer: Buffer,
    /// Ends of windows that changed since they were last asked.
    dirty: BTreeSet<i64>,
    keys: HashMap<Key, Keyed>,
    /// Keys that a window (by its end) found.
    fired: BTreeMap<i64, BTreeSet<Key>>,
    /// Rows were dropped for want of memory.
    capped: bool,
}

#[derive(Debug)]
struct Keyed {
    values: Vec<Value>,
    /// Row of each window (by its end) that found the key.
    windows: BTreeMap<i64, Row>,
    /// The key's events in each pane of these windows.
    panes: BTreeMap<i64, Evidence>,
    /// What was last said about each bucket.
    findings: BTreeMap<i64, Finding>,
    touched_at: i64,
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

    pub(crate) fn state(&self) -> State {
        State {
            buffer: Buffer::new(self.window),
            dirty: BTreeSet::new(),
            keys: HashMap::new(),
            fired: BTreeMap::new(),
            capped: false,
        }
    }

    /// Buffers what the query can use of new events of one cluster.
    pub(crate) async fn take_in(
        &self,
        state: &mut State,
        batch: &RecordBatch,
        now: i64,
    ) -> Result<()> {
        for kept in self.plans.intake.run(vec![batch.clone()]).await? {
            for pane in state.buffer.insert(&kept, event_times(&kept)?, now)? {
                state.dirty.extend(Buffer::ends(self.window, pane));
            }
        }
        Ok(())
    }

    /// Asks the windows that changed and are to be asked; gives the findings that changed.
    pub(crate) async fn evaluate(
        &self,
        state: &mut State,
        cluster: &str,
        ask: Ask,
        now: i64,
    ) -> Result<Vec<Finding>> {
        let ripe: Vec<i64> = match ask {
            Ask::Ripe { watermark } if !self.plans.monotone => {
                state.dirty.range(..=watermark).copied().collect()
            }
            Ask::Ripe { .. } | Ask::All => state.dirty.iter().copied().collect(),
        };
        let mut changed = BTreeSet::new();
        for end in ripe {
            if let Some(rows) = state.buffer.window(end) {
                self.ask(state, end, rows, now, &mut changed).await?;
            }
            state.dirty.remove(&end);
        }
        let mut findings = Vec::new();
        for (key, bucket) in changed {
            findings.extend(self.revise(state, cluster, &key, bucket));
        }
        Ok(findings)
    }

    /// Forgets what is over for events up to `watermark` and was not touched since `since`, and
    /// what does not fit into `bytes_max`.
    pub(crate) fn forget(&self, state: &mut State, watermark: i64, since: i64, bytes_max: usize) {
        state.capped |= state.buffer.forget(watermark, since, bytes_max);
        let over = watermark.saturating_sub(self.detection.dedup + self.window.length);
        state.keys.retain(|_, keyed| {
            keyed.touched_at >= since || keyed.windows.keys().any(|end| *end > over)
        });
        while let Some(entry) = state.fired.first_entry()
            && *entry.key() <= over
            && !entry.get().iter().any(|key| state.keys.contains_key(key))
        {
            entry.remove();
        }
    }

    /// Runs the query over one window and takes note of which keys it finds now.
    async fn ask(
        &self,
        state: &mut State,
        end: i64,
        rows: Vec<RecordBatch>,
        now: i64,
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
                keyed.windows.remove(&end);
                keyed.touched_at = now;
                changed.insert((key.clone(), bucket));
            }
        }
        let keys: BTreeSet<Key> = found.keys().cloned().collect();
        for (key, (values, row)) in found {
            let keyed = state.keys.entry(key.clone()).or_insert_with(|| Keyed {
                values,
                windows: BTreeMap::new(),
                panes: BTreeMap::new(),
                findings: BTreeMap::new(),
                touched_at: now,
            });
            keyed.windows.insert(end, row);
            keyed.touched_at = now;
            keyed.panes.extend(evidence.get(&key).cloned().unwrap_or_default());
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
                let pane = Buffer::pane(self.window, events.time(row));
                let event = events.at(row);
                for key in keys {
                    let panes = evidence.entry((*key).clone()).or_default();
                    panes.entry(pane).or_default().add(&event);
                }
            }
        }
        Ok(evidence)
    }

    /// What is to be said now about a key in a bucket; `None` when it is what was said before.
    fn revise(&self, state: &mut State, cluster: &str, key: &Key, bucket: i64) -> Option<Finding> {
        let capped = state.capped;
        let keyed = state.keys.get_mut(key)?;
        let before = keyed.findings.get(&bucket);
        let now = match self.finding(keyed, cluster, bucket, capped) {
            Some(finding) => finding,
            None => Finding { status: Status::Withdrawn, ..before?.clone() },
        };
        let same = before.is_some_and(|before| {
            before.status == now.status && before.row == now.row && before.evidence == now.evidence
        });
        if same {
            return None;
        }
        keyed.findings.insert(bucket, now.clone());
        Some(now)
    }

    fn finding(
        &self,
        keyed: &Keyed,
        cluster: &str,
        bucket: i64,
        incomplete: bool,
    ) -> Option<Finding> {
        let dedup = self.detection.dedup;
        let ends = bucket.saturating_mul(dedup)..bucket.saturating_add(1).saturating_mul(dedup);
        let mut panes: BTreeMap<i64, &Evidence> = BTreeMap::new();
        let mut shown: Option<(u64, &Row)> = None;
        for (end, row) in keyed.windows.range(ends) {
            let start = end.saturating_sub(self.window.length);
            let within = keyed.panes.range(start..*end);
            let count = within.clone().map(|(_, evidence)| evidence.count()).sum();
            panes.extend(within.map(|(start, evidence)| (*start, evidence)));
            if shown.is_none_or(|(most, _)| count > most) {
                shown = Some((count, row));
            }
        }
        let (_, row) = shown?;
        let mut evidence = Evidence::default();
        for pane in panes.values() {
            evidence.merge(pane);
        }
        let detection = &self.detection;
        let identity = Identity { detection, cluster, key: &keyed.values, bucket };
        Some(Finding {
            id: identity.id(),
            detection: Arc::clone(detection),
            status: Status::Open,
            cluster: cluster.to_owned(),
            key: self.plans.key.iter().cloned().zip(keyed.values.iter().cloned()).collect(),
            summary: render(&detection.describe, row),
            row: row.clone(),
            evidence,
            incomplete,
        })
    }
}
