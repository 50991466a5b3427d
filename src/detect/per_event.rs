//! Detections that look at each event alone: every row that passes is a hit, and hits of one key
//! in one deduplication bucket are one finding.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use datafusion::error::Result;
use hashbrown::{Equivalent, HashMap};

use super::aged::gone_up_to;
use super::detection::Detection;
use super::evidence::{Evidence, Mark};
use super::finding::{Finding, Identity, Status, bucket};
use super::row::Row;
use super::rows::{Columns, Events, KeyCells};

/// A per-event detection; its state is kept per cluster in [`State`].
#[derive(Debug)]
pub(crate) struct PerEvent {
    detection: Arc<Detection>,
    /// Key columns without the cluster.
    key: Arc<[String]>,
    /// Columns of its rows, once there was one.
    shown: OnceLock<Arc<[String]>>,
}

/// Which finding: bucket and key.
type Place = (i64, Arc<[u8]>);

/// The same, to look it up.
#[derive(PartialEq, Eq)]
struct Sought<'a>(i64, &'a [u8]);

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<Place> for Sought<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        (self.0, self.1) == (place.0, &*place.1)
    }
}

/// What one cluster's events have come to so far: findings of open buckets.
#[derive(Debug, Default)]
pub(crate) struct State {
    open: HashMap<Place, Open>,
    bytes: usize,
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
    /// All that it took then.
    bytes: usize,
}

impl Open {
    fn weigh(&self, place: &Place) -> usize {
        // Tables are at most 7/8 full.
        size_of::<(Place, Self)>() * 8 / 7
            + place.1.len()
            + self.id.len()
            + self.key.bytes()
            + self.evidence.heap()
            + self.shown.heap()
            + self.row.bytes()
    }
}

impl State {
    pub(crate) fn keys(&self) -> usize {
        self.open.len()
    }
}

impl PerEvent {
    pub(crate) fn new(detection: Arc<Detection>) -> Self {
        let key = detection.key_names().into();
        Self { detection, key, shown: OnceLock::new() }
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
        let shown = Columns::shown(hits, &self.shown);
        let keys = KeyCells::of(self.key.iter().filter_map(|name| hits.column_by_name(name)));
        let mut key = Vec::new();
        let mut touched: Vec<Place> = Vec::new();
        state.round += 1;
        for row in 0..hits.num_rows() {
            let time = events.time(row);
            keys.write(row, &mut key);
            let bucket = bucket(&self.detection, time);
            let Some((place, open)) = state.open.get_key_value_mut(&Sought(bucket, &key)) else {
                let place: Place = (bucket, key.as_slice().into());
                let open = self.opened(cluster, &place, events.at(row), shown.named(row));
                touched.push(place.clone());
                state.open.insert(place, Open { round: state.round, ..open });
                continue;
            };
            if open.round != state.round {
                open.round = state.round;
                touched.push(place.clone());
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
        let mut findings = Vec::with_capacity(touched.len());
        for place in touched {
            let Some(open) = state.open.get_mut(&place) else { continue };
            let bytes = open.weigh(&place);
            state.bytes = state.bytes + bytes - std::mem::replace(&mut open.bytes, bytes);
            findings.push(self.finding(cluster, place.0, open, state.capped));
        }
        Ok(findings)
    }

    fn opened(&self, cluster: &str, (bucket, key): &Place, event: Mark, row: Row) -> Open {
        let identity = Identity { detection: &self.detection, cluster, key, bucket: *bucket };
        let mut evidence = Evidence::default();
        evidence.insert(event.event_time, || event.clone());
        Open {
            id: identity.id(),
            key: identity.columns(&self.key),
            evidence,
            shown: event,
            row,
            round: 0,
            bytes: 0,
        }
    }

    /// Events up to this time were not judged.
    pub(crate) fn misses(&self, state: &mut State, latest: i64) {
        state.capped = state.capped.max(Some(bucket(&self.detection, latest)));
    }

    /// Forgets buckets that end before `told_from`, a bucket's edge.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        let first = bucket(&self.detection, told_from);
        let State { open, bytes, .. } = state;
        open.retain(|(bucket, _), open| {
            let stays = *bucket >= first;
            *bytes -= if stays { 0 } else { open.bytes };
            stays
        });
    }

    /// Gives up the findings that were touched longest ago of those that do not fit into
    /// `bytes_max`.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        if state.bytes <= bytes_max {
            return;
        }
        let rounds = state.open.values().map(|open| (open.round, open.bytes)).collect();
        let Some(newest) = gone_up_to(rounds, bytes_max) else { return };
        let State { open, capped, bytes, .. } = state;
        open.retain(|(bucket, _), open| {
            let stays = open.round > newest;
            if !stays {
                *capped = (*capped).max(Some(*bucket));
                *bytes -= open.bytes;
            }
            stays
        });
    }

    /// Bytes that the state takes.
    pub(crate) fn bytes(state: &State) -> usize {
        state.bytes
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
