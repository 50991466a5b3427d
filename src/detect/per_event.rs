//! Detections that look at each event alone: every row that passes is a hit, and hits of one key
//! in one deduplication bucket are one finding.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::aged::gone_up_to;
use super::detection::Detection;
use super::evidence::{Evidence, Mark};
use super::finding::{Finding, Identity, Status, bucket};
use super::row::Row;
use super::rows::{Columns, Events, KeyCells};

/// A guess at what an open finding takes, bytes.
const OPEN_BYTES: usize = 2_048;

/// A per-event detection; its state is kept per cluster in [`State`].
#[derive(Debug)]
pub(crate) struct PerEvent {
    detection: Arc<Detection>,
    /// Key columns without the cluster.
    key: Arc<[String]>,
}

/// What one cluster's events have come to so far: findings of open buckets.
#[derive(Debug, Default)]
pub(crate) struct State {
    open: HashMap<(i64, Box<[u8]>), Open>,
    /// Up to this bucket findings were forgotten for want of memory.
    capped: Option<i64>,
    /// Which call of [`PerEvent::on_hits`] this is.
    round: u64,
}

#[derive(Debug)]
struct Open {
    id: String,
    key: Row,
    evidence: Evidence,
    /// The event whose row is shown: the earliest.
    shown: Mark,
    row: Row,
    /// The last call that touched it.
    round: u64,
}

impl State {
    pub(crate) fn keys(&self) -> usize {
        self.open.len()
    }
}

impl PerEvent {
    pub(crate) fn new(detection: Arc<Detection>) -> Self {
        let key = detection.key_names().into();
        Self { detection, key }
    }

    /// Takes in hits of one cluster: the query's columns, then the event's; gives the findings
    /// that changed.
    pub(crate) fn on_hits(
        &self,
        state: &mut State,
        cluster: &str,
        hits: &RecordBatch,
    ) -> Result<Vec<Finding>> {
        let events = Events::of(hits)?;
        let shown = Columns::of(hits, |name| !name.starts_with("__"));
        let keys = KeyCells::of(self.key.iter().filter_map(|name| hits.column_by_name(name)));
        let mut key = Vec::new();
        let mut touched = Vec::new();
        state.round += 1;
        for row in 0..hits.num_rows() {
            let time = events.time(row);
            keys.write(row, &mut key);
            let at = (bucket(&self.detection, time), key.as_slice().into());
            let open = state.open.entry(at).or_insert_with_key(|(bucket, key)| {
                let identity =
                    Identity { detection: &self.detection, cluster, key, bucket: *bucket };
                Open {
                    id: identity.id(),
                    key: identity.columns(&self.key),
                    evidence: Evidence::default(),
                    shown: events.at(row),
                    row: shown.named(row),
                    round: 0,
                }
            });
            if open.round != state.round {
                open.round = state.round;
                touched.push((bucket(&self.detection, time), key.as_slice().into()));
            }
            open.evidence.insert(time, || events.at(row));
            if time <= open.shown.event_time {
                let event = events.at(row);
                if event < open.shown {
                    open.row = shown.named(row);
                    open.shown = event;
                }
            }
        }
        touched.sort_unstable();
        let found = touched.iter().filter_map(|at| Some((at.0, state.open.get(at)?)));
        Ok(found.map(|(bucket, open)| self.finding(cluster, bucket, open, state.capped)).collect())
    }

    /// Events up to this time were not judged.
    pub(crate) fn misses(&self, state: &mut State, latest: i64) {
        state.capped = state.capped.max(Some(bucket(&self.detection, latest)));
    }

    /// Forgets buckets that end before `told_from`, a bucket's edge.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        let first = bucket(&self.detection, told_from);
        state.open.retain(|(bucket, _), _| *bucket >= first);
    }

    /// Gives up the findings that were touched longest ago of those that do not fit into
    /// `bytes_max`.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        let max = bytes_max / OPEN_BYTES;
        if state.open.len() <= max {
            return;
        }
        let rounds = state.open.values().map(|open| open.round).collect();
        let Some(newest) = gone_up_to(rounds, max) else { return };
        let State { open, capped, .. } = state;
        open.retain(|(bucket, _), open| {
            let stays = open.round > newest;
            if !stays {
                *capped = (*capped).max(Some(*bucket));
            }
            stays
        });
    }

    /// Bytes that the state takes, about.
    pub(crate) fn bytes(state: &State) -> usize {
        state.open.len() * OPEN_BYTES
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    fn finding(&self, cluster: &str, bucket: i64, open: &Open, capped: Option<i64>) -> Finding {
        Finding {
            id: open.id.clone(),
            detection: Arc::clone(&self.detection),
            status: Status::Open,
            cluster: cluster.to_owned(),
            key: open.key.clone(),
            bucket,
            row: open.row.clone(),
            evidence: open.evidence.clone(),
            incomplete: capped.is_some_and(|capped| bucket <= capped),
        }
    }
}
