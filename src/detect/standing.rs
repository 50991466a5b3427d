//! What is said of one key of a windowed detection: which windows found it, and the findings
//! that follow.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::detection::Detection;
use super::evidence::Evidence;
use super::finding::{Finding, Identity, Status, bucket};
use super::row::Row;

/// A guess at what a finding and its row take, bytes.
const BYTES: usize = 2_048;

/// One key's windows and findings.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Number of events of each window (by its end) that found the key, and its row.
    windows: BTreeMap<i64, (u64, Option<Row>)>,
    /// What was last said about each bucket.
    findings: BTreeMap<i64, Finding>,
}

/// Whom a standing is about.
pub(crate) struct About<'a> {
    pub(crate) detection: &'a Arc<Detection>,
    pub(crate) cluster: &'a str,
    /// Names of the key columns, without the cluster.
    pub(crate) names: &'a Arc<[String]>,
    /// Its values, written one behind the other.
    pub(crate) key: &'a [u8],
    /// The key's events by pane, in any order, each pane once.
    pub(crate) panes: &'a [(i64, &'a Evidence)],
    /// State was capped while the windows were asked.
    pub(crate) incomplete: bool,
}

impl Standing {
    /// A window finds the key, with this row of so many events.
    pub(crate) fn found(&mut self, end: i64, events: u64, row: Row) {
        self.windows.insert(end, (events, Some(row)));
    }

    /// The same of a query whose rows stay while events come, in windows that only grow. A row is
    /// made only if it would be shown now: each window that grows is asked again, so the one that
    /// has the most events in the end was the one to show when it was last asked.
    pub(crate) fn grown(
        &mut self,
        detection: &Detection,
        end: i64,
        events: u64,
        row: impl FnOnce() -> Row,
    ) {
        let first = bucket(detection, end).saturating_mul(detection.dedup);
        let others = self.windows.range(first..first.saturating_add(detection.dedup));
        let is_shown = others
            .filter(|(other, _)| **other != end)
            .all(|(other, (more, _))| events > *more || events == *more && end < *other);
        self.windows.insert(end, (events, is_shown.then(row)));
    }

    /// A window does not find the key; true when it did before.
    pub(crate) fn not_found(&mut self, end: i64) -> bool {
        self.windows.remove(&end).is_some()
    }

    /// Forgets windows that end by a bucket's edge, and what was said of the buckets before it.
    pub(crate) fn forget(&mut self, told_from: i64, bucket: i64) {
        self.windows = self.windows.split_off(&told_from);
        self.findings = self.findings.split_off(&bucket);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.findings.is_empty()
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        (self.windows.len() / 4 + self.findings.len() + 1) * BYTES
    }

    /// What is to be said now about a bucket; `None` when it is what was said before.
    pub(crate) fn revise(&mut self, about: &About<'_>, bucket: i64) -> Option<Finding> {
        let before = self.findings.get(&bucket);
        let now = match self.finding(about, bucket, before) {
            Some(finding) => finding,
            None => Finding { status: Status::Withdrawn, ..before?.clone() },
        };
        if before.is_some_and(|before| before.says_the_same(&now)) {
            return None;
        }
        self.findings.insert(bucket, now.clone());
        Some(now)
    }

    fn finding(&self, about: &About<'_>, bucket: i64, before: Option<&Finding>) -> Option<Finding> {
        let detection = about.detection;
        let window = detection.window?;
        let mut covered: Vec<Range<i64>> = Vec::new();
        let mut shown: Option<(u64, Option<&Row>)> = None;
        let first = bucket.saturating_mul(detection.dedup);
        for (end, (events, row)) in self.windows.range(first..first + detection.dedup) {
            let start = end.saturating_sub(window.length);
            match covered.last_mut() {
                Some(last) if last.end >= start => last.end = *end,
                _ => covered.push(start..*end),
            }
            if shown.is_none_or(|(most, _)| *events > most) {
                shown = Some((*events, row.as_ref()));
            }
        }
        let row = shown.and_then(|(_, row)| row)?;
        let mut evidence = Evidence::default();
        for (start, pane) in about.panes {
            if covered.iter().any(|covered| covered.contains(start)) {
                evidence.merge(pane);
            }
        }
        let identity = Identity { detection, cluster: about.cluster, key: about.key, bucket };
        let (id, key) = match before {
            Some(before) => (before.id.clone(), before.key.clone()),
            None => (identity.id(), identity.columns(about.names)),
        };
        Some(Finding {
            id,
            detection: Arc::clone(detection),
            status: Status::Open,
            cluster: about.cluster.to_owned(),
            key,
            bucket,
            row: row.clone(),
            evidence,
            incomplete: about.incomplete,
        })
    }
}
