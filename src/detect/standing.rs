//! What is said of one key of a windowed detection: which windows found it, and the findings
//! that follow.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::detection::Detection;
use super::evidence::Evidence;
use super::finding::{Finding, Identity, Status, bucket};
use super::row::Row;

/// What an entry of a tree takes, as part of a node that is half full.
const WINDOW_BYTES: usize = 2 * size_of::<(i64, u64, Option<Row>)>();
const FINDING_BYTES: usize = size_of::<(i64, Finding)>();

/// One key's windows and findings.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Number of events of each window (by its end) that found the key, and its row.
    windows: BTreeMap<i64, (u64, Option<Row>)>,
    /// What was last said about each bucket. One that is open shows the row of a window.
    findings: BTreeMap<i64, Finding>,
    /// What rows and findings take.
    bytes: usize,
}

/// A key's events by pane.
pub(crate) trait Panes {
    /// Those of the panes that start in a span of time, ascending.
    fn within(&self, span: &Range<i64>) -> impl DoubleEndedIterator<Item = &Evidence> + Clone;
}

impl Panes for Vec<(i64, &Evidence)> {
    fn within(&self, span: &Range<i64>) -> impl DoubleEndedIterator<Item = &Evidence> + Clone {
        let from = self.partition_point(|(start, _)| *start < span.start);
        let to = self.partition_point(|(start, _)| *start < span.end);
        self.get(from..to).unwrap_or_default().iter().map(|(_, evidence)| &**evidence)
    }
}

/// Whom a standing is about.
pub(crate) struct About<'a, P: ?Sized> {
    pub(crate) detection: &'a Arc<Detection>,
    pub(crate) cluster: &'a str,
    /// Names of the key columns, without the cluster.
    pub(crate) names: &'a Arc<[String]>,
    /// Its values, written one behind the other.
    pub(crate) key: &'a [u8],
    /// The key's events by pane, ascending, each pane once.
    pub(crate) panes: &'a P,
    /// State was capped while the windows were asked.
    pub(crate) incomplete: bool,
}

impl Standing {
    /// A window finds the key, with this row of so many events.
    pub(crate) fn found(&mut self, end: i64, events: u64, row: Row) {
        self.keep(end, events, Some(row));
    }

    /// The same of a query whose rows stay while events come, in windows that only grow. A row is
    /// made only if it [is shown](Self::is_shown) now.
    pub(crate) fn grown(
        &mut self,
        detection: &Detection,
        end: i64,
        events: u64,
        row: impl FnOnce() -> Row,
    ) {
        let row = self.is_shown(detection, end, events).then(row);
        self.keep(end, events, row);
    }

    /// Takes note of the events of a window of such a query when that is all there is to be known:
    /// it has found the key before, and its row is not shown. True if so.
    pub(crate) fn only_grows(&mut self, detection: &Detection, end: i64, events: u64) -> bool {
        let only = self.windows.contains_key(&end) && !self.is_shown(detection, end, events);
        if only {
            self.keep(end, events, None);
        }
        only
    }

    /// Whether the row of a window of so many events is the one to show now. Each window that grows
    /// is looked at again, so the one that has the most events in the end was the one to show when
    /// it last grew.
    fn is_shown(&self, detection: &Detection, end: i64, events: u64) -> bool {
        let first = bucket(detection, end).saturating_mul(detection.dedup);
        let mut others = self.windows.range(first..first.saturating_add(detection.dedup));
        others.all(|(other, (more, _))| {
            *other == end || events > *more || events == *more && end < *other
        })
    }

    fn keep(&mut self, end: i64, events: u64, row: Option<Row>) {
        self.bytes += row.as_ref().map_or(0, Row::bytes);
        let before = self.windows.insert(end, (events, row));
        self.gone(before);
    }

    fn gone(&mut self, window: Option<(u64, Option<Row>)>) {
        let row = window.and_then(|(_, row)| row);
        self.bytes = self.bytes.saturating_sub(row.as_ref().map_or(0, Row::bytes));
    }

    /// A window does not find the key; true when it did before.
    pub(crate) fn not_found(&mut self, end: i64) -> bool {
        let before = self.windows.remove(&end);
        let was_found = before.is_some();
        self.gone(before);
        was_found
    }

    /// Forgets windows that end by a bucket's edge, and what was said of the buckets before it.
    pub(crate) fn forget(&mut self, told_from: i64, bucket: i64) {
        while let Some(window) = self.windows.first_entry().filter(|of| *of.key() < told_from) {
            let window = window.remove();
            self.gone(Some(window));
        }
        while let Some(finding) = self.findings.first_entry().filter(|of| *of.key() < bucket) {
            self.bytes = self.bytes.saturating_sub(weigh(&finding.remove()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.findings.is_empty()
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.windows.len() * WINDOW_BYTES
            + self.findings.len() * FINDING_BYTES
            + self.bytes
    }

    /// What is to be said now about a bucket; `None` when it is what was said before.
    pub(crate) fn revise<P: Panes + ?Sized>(
        &mut self,
        about: &About<'_, P>,
        bucket: i64,
    ) -> Option<Finding> {
        let before = self.findings.get(&bucket);
        let now = match self.finding(about, bucket, before) {
            Some(finding) => finding,
            None => Finding { status: Status::Withdrawn, ..before?.clone() },
        };
        let is_new = before.is_none_or(|before| !before.says_the_same(&now));
        // Kept even if it says the same: it shares the row that a window holds now.
        let told = is_new.then(|| now.clone());
        self.bytes += weigh(&now);
        if let Some(before) = self.findings.insert(bucket, now) {
            self.bytes = self.bytes.saturating_sub(weigh(&before));
        }
        told
    }

    fn finding<P: Panes + ?Sized>(
        &self,
        about: &About<'_, P>,
        bucket: i64,
        before: Option<&Finding>,
    ) -> Option<Finding> {
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
        let evidence =
            Evidence::ascending(&covered.iter().flat_map(|span| about.panes.within(span)));
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

/// What a finding takes beside its place: its row too, once no window holds it.
fn weigh(finding: &Finding) -> usize {
    let row = match finding.status {
        Status::Open => 0,
        Status::Withdrawn => finding.row.bytes(),
    };
    finding.bytes() - size_of::<Finding>() + row
}
