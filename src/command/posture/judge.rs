//! One control after the other: what is asked, and what the answers come to.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value as Json};

use super::line::{Behind, Figure, Line, Verdict};
use crate::command::sql::{AskError, Asked};
use crate::detect::catalog::Catalog;
use crate::detect::detection::Severity;
use crate::policy::coverage::{Coverage, coverage};
use crate::policy::document::Policy;
use crate::policy::smallest::rule_for;
use crate::question::control::{Control, Known, Period};

/// Findings of a detection that count, and all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) all: u64,
    pub(super) serious: u64,
}

/// From here on a finding is a failure.
pub(super) const SERIOUS: Severity = Severity::Medium;

/// What lines are made of.
pub(super) struct Judge<'a> {
    pub(super) asked: &'a Asked,
    pub(super) catalog: &'a Catalog,
    pub(super) policy: Option<&'a Policy>,
    pub(super) period: Period,
    pub(super) known: &'a Known,
    pub(super) found: &'a BTreeMap<String, Found>,
    /// Events in the period.
    pub(super) events: u64,
}

impl Judge<'_> {
    /// The line of a control.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) fn line(&self, control: &Control) -> Result<Line> {
        let mut line = Line::of(control, self.behind(&control.id));
        if control.findings {
            line.findings = self.serious(&control.id);
        }
        let missing: Vec<&str> = control.missing(self.known).collect();
        if !missing.is_empty() {
            let flags = missing.iter().map(|name| format!("--set {name}=..."));
            line.reason = format!("only you know: give {}", flags.collect::<Vec<_>>().join(", "));
            return Ok(line);
        }
        if let Err(message) = self.ask(control, &mut line)? {
            line.reason = format!("the question was not answered: {message}");
            return Ok(line);
        }
        self.decide(control, &mut line)?;
        Ok(line)
    }

    /// Asks for counts, the latest failures and figures; the inner error is the question's.
    fn ask(&self, control: &Control, line: &mut Line) -> Result<Result<(), String>> {
        if let Some(sql) = control.counting(self.period, self.known)? {
            let rows = match self.rows(&sql)? {
                Ok(rows) => rows,
                Err(message) => return Ok(Err(message)),
            };
            let row = rows.into_iter().next().unwrap_or_default();
            line.query = Some(sql);
            (line.seen, line.failing) = (number(&row, "seen"), number(&row, "failing"));
            line.first_event = text(&row, "first_event");
            line.last_event = text(&row, "last_event");
            line.first_failing = text(&row, "first_failing");
            line.last_failing = text(&row, "last_failing");
        }
        if line.failing > 0
            && let Some(sql) = control.showing(self.period, self.known)?
            && let Ok(rows) = self.rows(&sql)?
        {
            line.evidence = rows;
        }
        if let Some(sql) = control.figuring(self.period, self.known)?
            && let Ok(rows) = self.rows(&sql)?
        {
            line.figures = rows
                .into_iter()
                .map(|mut row| Figure {
                    name: text(&row, "name").unwrap_or_default(),
                    value: row.remove("value").unwrap_or_default(),
                })
                .collect();
        }
        Ok(Ok(()))
    }

    fn decide(&self, control: &Control, line: &mut Line) -> Result<()> {
        let events =
            |count: u64| if count == 1 { "1 event".to_owned() } else { format!("{count} events") };
        if line.failing > 0 || line.findings > 0 {
            line.verdict = Verdict::Fail;
            let mut reasons = Vec::new();
            if line.failing > 0 {
                let (failing, seen) = (line.failing, events(line.seen));
                reasons.push(format!("{failing} of {seen} that could show it broken do"));
            }
            if line.findings > 0 {
                reasons.push(format!("{} findings of its detections", line.findings));
            }
            line.reason = reasons.join("; ");
        } else if let Some(never) = &control.never {
            line.reason.clone_from(never);
        } else if line.seen > 0 {
            line.verdict = Verdict::Pass;
            line.reason = format!("none of {} that could show it broken does", events(line.seen));
        } else if control.change && self.events > 0 && self.policy_gives(control) {
            line.verdict = Verdict::Pass;
            line.reason = format!(
                "nothing of the kind was done in {}, and the policy would have recorded it",
                events(self.events)
            );
        } else {
            line.reason = self.why_not(control)?;
            line.rule = Some(rule_for(&control.needs));
        }
        Ok(())
    }

    fn policy_gives(&self, control: &Control) -> bool {
        self.policy.is_some_and(|policy| coverage(policy, &control.needs) == Coverage::Whole)
    }

    /// Why no event could show it.
    fn why_not(&self, control: &Control) -> Result<String> {
        if self.events == 0 {
            return Ok("there are no events".to_owned());
        }
        let level = control.needs.level.as_deref().unwrap_or("Metadata");
        let resources = control.needs.resources.join(", ");
        if let Some(policy) = self.policy
            && let Coverage::Never(gaps) = coverage(policy, &control.needs)
        {
            let why = gaps.first().map(|gap| format!("{}: {}", gap.what, gap.why));
            return Ok(format!("the policy leaves it out: {}", why.unwrap_or_default()));
        }
        let Some(sql) = control.reaching(self.period)? else {
            return Ok("no event in reach is of the kind that could show it".to_owned());
        };
        let seen = self.rows(&sql)?.ok();
        let seen = seen.and_then(|rows| Some(number(rows.first()?, "seen"))).unwrap_or(0);
        let policy = if control.change && self.policy.is_none() {
            "; with `--policy FILE`, silence would be evidence"
        } else {
            ""
        };
        Ok(if seen == 0 {
            format!("no event of {resources} was seen{policy}")
        } else if level == "Metadata" {
            format!("{seen} events of {resources} were seen, none that could show it{policy}")
        } else {
            format!(
                "{seen} events of {resources} were seen, none of them at level {level} and done \
                 where it counts{policy}"
            )
        })
    }

    fn rows(&self, sql: &str) -> Result<Result<Vec<Map<String, Json>>, String>> {
        match self.asked.rows(sql) {
            Ok(rows) => Ok(Ok(rows)),
            Err(AskError::Wrong(message)) => Ok(Err(message)),
            Err(AskError::Failed(error)) => Err(error),
        }
    }

    fn behind(&self, control: &str) -> Vec<Behind> {
        let lacking = self.catalog.lacking().map(|(detection, _)| detection);
        let all = self.catalog.detections().chain(lacking);
        let behind = all.filter(|of| of.controls.iter().any(|c| c == control)).map(|detection| {
            let id = detection.id.clone();
            let findings = self.found.get(&id).map_or(0, |found| found.all);
            // What a server found while it had what it needs counts.
            let lacks = if findings == 0 { self.catalog.lacks(&id) } else { None };
            let (title, lacks) = (detection.title.clone(), lacks.map(str::to_owned));
            Behind { id, title, findings, lacks }
        });
        behind.collect()
    }

    fn serious(&self, control: &str) -> u64 {
        let named = self.catalog.detections().filter(|of| of.controls.iter().any(|c| c == control));
        named.filter_map(|of| self.found.get(&of.id)).map(|found| found.serious).sum()
    }
}

/// The line of all lines that have sections of the benchmark.
pub(super) fn sum_up(line: &mut Line, others: &[Line]) {
    let of: Vec<&Line> = others.iter().filter(|other| !other.cis.is_empty()).collect();
    let ids = |verdict| -> Vec<&str> {
        of.iter().filter(|other| other.verdict == verdict).map(|other| other.id.as_str()).collect()
    };
    let (failing, passing, silent) =
        (ids(Verdict::Fail), ids(Verdict::Pass), ids(Verdict::NoEvidence));
    line.seen = of.iter().map(|other| other.seen).sum();
    line.failing = of.iter().map(|other| other.failing).sum();
    line.verdict = if !failing.is_empty() {
        Verdict::Fail
    } else if passing.is_empty() {
        Verdict::NoEvidence
    } else {
        Verdict::Pass
    };
    let told = [("fail", failing), ("pass", passing), ("have no evidence", silent)];
    let told = told.iter().filter(|(_, ids)| !ids.is_empty());
    let told: Vec<String> =
        told.map(|(words, ids)| format!("{} {words}", ids.join(", "))).collect();
    line.reason = told.join("; ");
}

pub(super) fn number(row: &Map<String, Json>, name: &str) -> u64 {
    row.get(name).and_then(Json::as_u64).unwrap_or(0)
}

pub(super) fn text(row: &Map<String, Json>, name: &str) -> Option<String> {
    row.get(name).and_then(Json::as_str).map(str::to_owned)
}
