//! Detections that look at each event alone: every output row is a hit, and hits of one key in
//! one deduplication bucket are one finding.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::compiled::Compiled;
use super::detection::Detection;
use super::evidence::{EventRef, Evidence};
use super::finding::{Finding, Identity, Status, bucket, render};
use super::rows::{Columns, Events, key_bytes};
use super::value::Value;

/// The plan of a per-event detection; it keeps no state.
#[derive(Debug)]
pub(crate) struct PerEvent {
    detection: Arc<Detection>,
    plan: Compiled,
    /// Key columns without the cluster.
    key: Vec<String>,
}

/// What one cluster's events have come to so far: findings of open buckets.
#[derive(Debug, Default)]
pub(crate) struct State {
    open: HashMap<(Vec<u8>, i64), Open>,
}

#[derive(Debug)]
struct Open {
    key: Vec<Value>,
    evidence: Evidence,
    /// The event whose row is shown: the earliest.
    shown: EventRef,
    row: Vec<(String, Value)>,
    touched_at: i64,
}

impl PerEvent {
    pub(crate) fn new(detection: Arc<Detection>, plan: Compiled) -> Self {
        let key = detection.key.iter().filter(|name| *name != "cluster").cloned().collect();
        Self { detection, plan, key }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    /// Runs over new events of one cluster; gives the findings that changed.
    pub(crate) async fn on_batch(
        &self,
        state: &mut State,
        cluster: &str,
        batch: &RecordBatch,
        now: i64,
    ) -> Result<Vec<Finding>> {
        let mut touched = Vec::new();
        for result in self.plan.run(vec![batch.clone()]).await? {
            let events = Events::of(&result)?;
            let shown = Columns::of(&result, |name| !name.starts_with("__"));
            let named = |name: &String| Columns::of(&result, |column| column == name);
            let keys: Vec<Columns> = self.key.iter().map(named).collect();
            for row in 0..result.num_rows() {
                let event = events.at(row);
                let key: Vec<Value> = keys.iter().flat_map(|column| column.values(row)).collect();
                let at = (key_bytes(&key), bucket(&self.detection, event.event_time));
                let open = state.open.entry(at.clone()).or_insert_with(|| Open {
                    key,
                    evidence: Evidence::default(),
                    shown: event.clone(),
                    row: shown.named(row),
                    touched_at: now,
                });
                open.evidence.add(&event);
                open.touched_at = now;
                if event < open.shown {
                    open.row = shown.named(row);
                    open.shown = event;
                }
                touched.push(at);
            }
        }
        touched.sort();
        touched.dedup();
        let found = touched.iter().filter_map(|at| Some((at.1, state.open.get(at)?)));
        Ok(found.map(|(bucket, open)| self.finding(cluster, bucket, open)).collect())
    }

    /// Forgets buckets that are over for events up to `watermark` and untouched since `since`.
    pub(crate) fn forget(&self, state: &mut State, watermark: i64, since: i64) {
        let dedup = self.detection.dedup;
        state.open.retain(|(_, bucket), open| {
            bucket.saturating_add(1).saturating_mul(dedup) > watermark || open.touched_at >= since
        });
    }

    fn finding(&self, cluster: &str, bucket: i64, open: &Open) -> Finding {
        let detection = &self.detection;
        let identity = Identity { detection, cluster, key: &open.key, bucket };
        Finding {
            id: identity.id(),
            detection: Arc::clone(detection),
            status: Status::Open,
            cluster: cluster.to_owned(),
            key: self.key.iter().cloned().zip(open.key.iter().cloned()).collect(),
            summary: render(&detection.describe, &open.row),
            row: open.row.clone(),
            evidence: open.evidence.clone(),
            incomplete: false,
        }
    }
}
