//! What a step of the pipeline came to, gathered while it goes on.

use std::collections::BTreeMap;

use super::step::{ClusterSeen, LedgerEntry, LedgerKind, Step};
use crate::detect::finding::Finding;
use crate::detect::outcome::Beyond;

/// Findings, and what is counted, of the records of one step.
#[derive(Debug, Default)]
pub struct Tally {
    /// New and changed findings, in the order of their versions.
    pub findings: Vec<Finding>,
    /// Hash and arrival of each delivery that was not a repeat.
    pub deliveries: Vec<(u128, i64)>,
    ledger: BTreeMap<(LedgerKind, String, String), LedgerEntry>,
    clusters: BTreeMap<String, ClusterSeen>,
}

impl Tally {
    /// So many more of a kind, at a time in microseconds.
    pub fn count(&mut self, kind: LedgerKind, cluster: &str, item: &str, at: i64, count: u64) {
        if count == 0 {
            return;
        }
        let key = (kind, cluster.to_owned(), item.to_owned());
        let (cluster, item) = (cluster.to_owned(), item.to_owned());
        let new = LedgerEntry { kind, cluster, item, at, count: 0 };
        self.ledger.entry(key).or_insert(new).count += count;
    }

    /// Events came from a cluster.
    pub fn see(&mut self, seen: ClusterSeen) {
        match self.clusters.get_mut(&seen.cluster) {
            Some(before) => {
                before.last_event = before.last_event.max(seen.last_event);
                before.last_arrival = before.last_arrival.max(seen.last_arrival);
                before.events += seen.events;
                before.duplicates += seen.duplicates;
            }
            None => drop(self.clusters.insert(seen.cluster.clone(), seen)),
        }
    }

    /// Gives the step that ends before the record `next` to `commit`, with all that is `owed` then.
    /// What was `counted` by an earlier run is not counted again.
    pub fn step<T>(
        self,
        next: u64,
        counted: bool,
        owed: &[Beyond],
        commit: impl FnOnce(&Step<'_>) -> T,
    ) -> T {
        let (mut ledger, mut clusters) = (Vec::new(), Vec::new());
        if !counted {
            ledger.extend(self.ledger.into_values());
            clusters.extend(self.clusters.into_values());
        }
        commit(&Step {
            next,
            findings: &self.findings,
            ledger: &ledger,
            clusters: &clusters,
            deliveries: &self.deliveries,
            owed: Some(owed),
        })
    }
}
