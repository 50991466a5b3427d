//! What an incident's findings add up to, whatever their order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::member::Member;
use crate::detect::detection::Severity;

/// Names of one kind that are kept: the first in their order.
const NAMES_MAX: usize = 32;

/// The sum of an incident's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// By detection.
    pub parts: BTreeMap<String, Part>,
    /// Keys of who did it, see [`super::actor`].
    pub actors: BTreeSet<String>,
    /// Where.
    pub namespaces: BTreeSet<String>,
    /// Hardening controls.
    pub controls: BTreeSet<String>,
}

/// The findings of one detection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The detection's title.
    pub title: String,
    /// The worst of its findings.
    pub severity: Severity,
    /// What its techniques are for.
    pub tactic: Option<String>,
    /// How many findings.
    pub findings: u64,
    /// How many events.
    pub events: u64,
    /// The first event, microseconds since 1970, UTC.
    pub first: i64,
    /// The last event.
    pub last: i64,
}

impl Aggregate {
    /// Takes in a finding that is new.
    pub fn add(&mut self, member: &Member) {
        let part = Part {
            title: member.title.clone(),
            severity: member.severity,
            tactic: member.tactic.clone(),
            findings: 1,
            events: member.events,
            first: member.first,
            last: member.last,
        };
        self.add_part(&member.detection, part);
        extend(&mut self.actors, member.actors.iter().cloned());
        extend(&mut self.namespaces, member.namespace.iter().cloned());
        extend(&mut self.controls, member.controls.iter().cloned());
    }

    /// A finding in it grew.
    pub(super) fn grow(&mut self, before: &Member, after: &Member) {
        if let Some(part) = self.parts.get_mut(&after.detection) {
            part.events += after.events.saturating_sub(before.events);
            part.first = part.first.min(after.first);
            part.last = part.last.max(after.last);
        }
    }

    /// Takes in all of another one.
    pub(super) fn merge(&mut self, other: Self) {
        for (detection, part) in other.parts {
            self.add_part(&detection, part);
        }
        extend(&mut self.actors, other.actors);
        extend(&mut self.namespaces, other.namespaces);
        extend(&mut self.controls, other.controls);
    }

    fn add_part(&mut self, detection: &str, part: Part) {
        match self.parts.get_mut(detection) {
            Some(sum) => {
                sum.severity = sum.severity.max(part.severity);
                // Of two texts for one detection the greater: the same in any order.
                sum.title = sum.title.clone().max(part.title);
                sum.tactic = sum.tactic.clone().max(part.tactic);
                sum.findings += part.findings;
                sum.events += part.events;
                sum.first = sum.first.min(part.first);
                sum.last = sum.last.max(part.last);
            }
            None => drop(self.parts.insert(detection.to_owned(), part)),
        }
    }

    /// The worst severity; informational of nothing.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let severities = self.parts.values().map(|part| part.severity);
        severities.max().unwrap_or(Severity::Informational)
    }

    /// The tactics that it spans, ascending.
    #[must_use]
    pub fn tactics(&self) -> BTreeSet<&str> {
        self.parts.values().filter_map(|part| part.tactic.as_deref()).collect()
    }

    /// How much it weighs. Each detection counts by its severity (low 10, medium 30, high 60,
    /// critical 100), and a tenth of that more each time its findings double; each tactic beyond
    /// the first makes it half as much again of that sum.
    #[must_use]
    pub fn score(&self) -> u64 {
        let weight = |part: &Part| {
            let weight = match part.severity {
                Severity::Informational => 0,
                Severity::Low => 10,
                Severity::Medium => 30,
                Severity::High => 60,
                Severity::Critical => 100,
            };
            weight + weight * u64::from(part.findings.max(1).ilog2()) / 10
        };
        let sum: u64 = self.parts.values().map(weight).sum();
        let further = self.tactics().len().saturating_sub(1) as u64;
        sum + sum * further / 2
    }

    /// How many findings it has.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.parts.values().map(|part| part.findings).sum()
    }

    /// How many events its findings have.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.parts.values().map(|part| part.events).sum()
    }

    /// Its first and its last event, microseconds since 1970, UTC; 0 of nothing.
    #[must_use]
    pub fn span(&self) -> (i64, i64) {
        let first = self.parts.values().map(|part| part.first).min();
        let last = self.parts.values().map(|part| part.last).max();
        (first.unwrap_or_default(), last.unwrap_or_default())
    }
}

/// Puts names in; with too many, the last in their order go: which are left does not depend on
/// the order in which they came.
fn extend(names: &mut BTreeSet<String>, more: impl IntoIterator<Item = String>) {
    for name in more {
        names.insert(name);
        if names.len() > NAMES_MAX {
            names.pop_last();
        }
    }
}
