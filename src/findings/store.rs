//! Findings by id, in memory; bounded, the longest unchanged ones given up first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::record::FindingRecord;
use crate::detect::finding::Finding;

/// Number of a change; grows by one.
pub type Change = u64;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only findings whose last event is at or after this RFC 3339 time.
    pub since: Option<String>,
    /// Only these severities; empty means all.
    pub severities: Vec<String>,
    /// Only this detection.
    pub detection: Option<String>,
    /// Only this cluster.
    pub cluster: Option<String>,
}

/// A page of findings, newest first.
#[derive(Debug)]
pub struct Page {
    /// The findings.
    pub findings: Vec<Arc<FindingRecord>>,
    /// Where the next page starts, `None` at the end.
    pub next: Option<String>,
}

/// The store. One owner writes, anyone reads.
#[derive(Debug)]
pub struct Store {
    findings_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    findings: HashMap<String, (Change, Arc<FindingRecord>)>,
    changes: BTreeMap<Change, String>,
    last: Change,
    closed: bool,
}

impl Store {
    /// A store for at most so many findings.
    #[must_use]
    pub fn new(findings_max: usize) -> Self {
        Self { findings_max: findings_max.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Stores new versions of findings; gives how many of them had not been there before.
    pub fn upsert(&self, findings: &[Finding]) -> Vec<Arc<FindingRecord>> {
        let mut new = Vec::new();
        if findings.is_empty() {
            return new;
        }
        let mut state = self.lock();
        for finding in findings {
            let before = state.findings.remove(&finding.id);
            if let Some((change, _)) = &before {
                state.changes.remove(change);
            }
            let revision = before.as_ref().map_or(1, |(_, record)| record.revision + 1);
            let record = Arc::new(FindingRecord::new(finding, revision));
            if before.is_none() {
                new.push(Arc::clone(&record));
            }
            state.last += 1;
            let change = state.last;
            state.changes.insert(change, finding.id.clone());
            state.findings.insert(finding.id.clone(), (change, record));
        }
        while state.findings.len() > self.findings_max
            && let Some((_, id)) = state.changes.pop_first()
        {
            state.findings.remove(&id);
        }
        drop(state);
        self.changed.notify_all();
        new
    }

    /// The finding of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<FindingRecord>> {
        self.lock().findings.get(id).map(|(_, record)| Arc::clone(record))
    }

    /// All findings.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<FindingRecord>> {
        let state = self.lock();
        state.findings.values().map(|(_, record)| Arc::clone(record)).collect()
    }

    /// A page of at most `limit` findings, the latest `first_seen` first. `cursor` is a page's
    /// `next`.
    #[must_use]
    pub fn list(&self, filter: &Filter, limit: usize, cursor: Option<&str>) -> Page {
        let mut found = self.all();
        found.retain(|record| filter.matches(record));
        found.sort_by_cached_key(|record| std::cmp::Reverse(place(record)));
        if let Some(cursor) = cursor {
            found.retain(|record| place(record).as_str() < cursor);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|record| place(record));
        Page { findings: found, next }
    }

    /// Changes after `after`, oldest first, each finding once in its latest version; waits at
    /// most `wait` while there is none. `None` when the store is closed and all has been given.
    pub fn changes_after(
        &self,
        after: Change,
        wait: Duration,
    ) -> Option<Vec<(Change, Arc<FindingRecord>)>> {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| state.last <= after && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.last <= after && state.closed {
            return None;
        }
        let changes = state.changes.range(after + 1..).filter_map(|(change, id)| {
            state.findings.get(id).map(|(_, record)| (*change, Arc::clone(record)))
        });
        Some(changes.collect())
    }

    /// Nothing more will change.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filter {
    fn matches(&self, record: &FindingRecord) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        is(&self.detection, &record.detection)
            && is(&self.cluster, &record.cluster)
            && (self.severities.is_empty()
                || self.severities.iter().any(|severity| severity == record.severity))
            && self.since.as_ref().is_none_or(|since| record.last_seen >= *since)
    }
}

/// Where a finding stands in a list: RFC 3339 in one form sorts as text.
fn place(record: &FindingRecord) -> String {
    format!("{}~{}", record.first_seen, record.id)
}
