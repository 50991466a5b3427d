//! What came of a backtest, counted: by day, by severity, by key, and against another version.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Read;
use super::period::Period;
use super::trial::Found;
use super::versions::Versions;
use crate::detect::detection::Severity;
use crate::detect::finding::Finding;
use crate::detect::value::Value;

/// What came of a backtest.
pub(super) struct Report {
    pub(super) period: Period,
    pub(super) read: Read,
    /// What the detections find now, the worst first, then in the order of time.
    pub(super) findings: Vec<Finding>,
    /// Against the other version, if there is one.
    pub(super) diff: Option<Diff>,
    /// Detections that failed, in words.
    pub(super) faults: BTreeSet<String>,
}

/// What two versions find differently; each the worst first.
#[derive(Default)]
pub(super) struct Diff {
    pub(super) added: Vec<Finding>,
    pub(super) removed: Vec<Finding>,
    /// What is found by both and says something else now.
    pub(super) changed: Vec<Finding>,
}

/// What happened to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
    Changed,
    Same,
}

impl Change {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Same => "same",
        }
    }
}

/// A day of a detection: its findings. The date is `YYYY-MM-DD` in UTC.
pub(super) struct Day<'a> {
    pub(super) date: String,
    pub(super) detection: &'a str,
    pub(super) severity: Severity,
    pub(super) findings: usize,
}

/// A key of a detection that is found again and again.
pub(super) struct Loud<'a> {
    pub(super) detection: &'a str,
    pub(super) key: String,
    pub(super) findings: usize,
    pub(super) events: u64,
}

impl Report {
    /// Of what both versions found.
    pub(super) fn new(
        versions: &Versions,
        period: Period,
        read: Read,
        now: Found,
        before: Option<Found>,
    ) -> Self {
        let is_asked = |finding: &Finding| versions.is_asked(&finding.detection.id);
        let Found { findings, mut faults } = now;
        let diff = before.map(|before| {
            faults.extend(before.faults.iter().map(|fault| format!("before: {fault}")));
            diff(versions, &findings, &before.findings)
        });
        let findings = findings.into_values().filter(is_asked).collect();
        Self { period, read, findings: worst_first(findings), diff, faults }
    }

    /// Findings by day and detection, in this order.
    pub(super) fn days(&self) -> Vec<Day<'_>> {
        let mut days: BTreeMap<(String, &str), (Severity, usize)> = BTreeMap::new();
        for finding in &self.findings {
            let detection = &finding.detection;
            let at = (self.period.day(finding), detection.id.as_str());
            days.entry(at).or_insert((detection.severity, 0)).1 += 1;
        }
        let days = days.into_iter().map(|((date, detection), (severity, findings))| Day {
            date,
            detection,
            severity,
            findings,
        });
        days.collect()
    }

    /// Findings by severity, the worst first, with those of which there are none.
    pub(super) fn severities(&self) -> Vec<(Severity, usize)> {
        let count = |severity: Severity| {
            self.findings.iter().filter(|finding| finding.detection.severity == severity).count()
        };
        Severity::ALL.into_iter().rev().map(|severity| (severity, count(severity))).collect()
    }

    /// The keys with the most findings, of at most so many.
    pub(super) fn loudest(&self, most: usize) -> Vec<Loud<'_>> {
        let mut keys: BTreeMap<(&str, String), (usize, u64)> = BTreeMap::new();
        for finding in &self.findings {
            let at = (finding.detection.id.as_str(), key(finding));
            let (findings, events) = keys.entry(at).or_default();
            *findings += 1;
            *events += finding.evidence.count();
        }
        let mut loud: Vec<Loud<'_>> = keys
            .into_iter()
            .map(|((detection, key), (findings, events))| Loud { detection, key, findings, events })
            .collect();
        loud.sort_by_key(|loud| std::cmp::Reverse((loud.findings, loud.events)));
        loud.truncate(most);
        loud
    }

    /// What became of a finding of now; `None` without another version.
    pub(super) fn changes(&self) -> Option<BTreeMap<&str, Change>> {
        let diff = self.diff.as_ref()?;
        let added = diff.added.iter().map(|finding| (finding.id.as_str(), Change::Added));
        let changed = diff.changed.iter().map(|finding| (finding.id.as_str(), Change::Changed));
        let changed: BTreeMap<&str, Change> = added.chain(changed).collect();
        let findings = self.findings.iter().map(|finding| {
            let change = changed.get(finding.id.as_str()).copied();
            (finding.id.as_str(), change.unwrap_or(Change::Same))
        });
        Some(findings.collect())
    }

    /// The worst that `--fail-on` is about.
    pub(super) fn worst(&self) -> Option<Severity> {
        let findings = self.diff.as_ref().map_or(&self.findings, |diff| &diff.added);
        findings.iter().map(|finding| finding.detection.severity).max()
    }
}

fn diff(
    versions: &Versions,
    now: &BTreeMap<String, Finding>,
    before: &BTreeMap<String, Finding>,
) -> Diff {
    let counts = |finding: &Finding| {
        let id = &finding.detection.id;
        versions.is_differing(id) && versions.is_asked(id)
    };
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for finding in now.values().filter(|finding| counts(finding)) {
        match before.get(&finding.id) {
            None => added.push(finding.clone()),
            Some(before) if !is_same(before, finding) => changed.push(finding.clone()),
            Some(_) => {}
        }
    }
    let removed = before.values().filter(|finding| counts(finding));
    let removed = removed.filter(|finding| !now.contains_key(&finding.id)).cloned().collect();
    Diff { added: worst_first(added), removed: worst_first(removed), changed: worst_first(changed) }
}

/// Whether both say the same to whoever reads them.
fn is_same(a: &Finding, b: &Finding) -> bool {
    a.detection.severity == b.detection.severity
        && a.detection.title == b.detection.title
        && a.summary() == b.summary()
        && a.row == b.row
        && a.evidence == b.evidence
}

fn worst_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let time = |finding: &Finding| finding.evidence.first().map(|event| event.event_time);
        let by_severity = b.detection.severity.cmp(&a.detection.severity);
        by_severity.then(time(a).cmp(&time(b))).then(a.id.cmp(&b.id))
    });
    findings
}

/// A finding's key, with its cluster, on one line.
pub(super) fn key(finding: &Finding) -> String {
    let cells = finding.key.iter().map(|(name, value)| match value {
        // Values are an attacker's words.
        Value::Text(text) => format!("{name}={}", text.escape_debug()),
        other => format!("{name}={other}"),
    });
    let cells: Vec<String> = std::iter::once(finding.cluster.clone()).chain(cells).collect();
    cells.join(" ")
}
