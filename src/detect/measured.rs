//! What a detection takes of events that are there, and what that costs, for
//! `auditmill detections explain ID FILE...`.
//!
//! Promise: it is asked as the engine asks, alone: so many events pass each condition, and the time
//! is that of an engine in which nothing else runs. Windows are asked once, when the events have
//! ended, and nothing of them is forgotten before.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt32Array};
use datafusion::common::Result;

use super::catalog::Catalog;
use super::detection::LoadError;
use super::engine::{Cost, Engine, EngineSettings, Outcome, Pace};
use super::explain::{Condition, conditions};
use super::finding::Status;
use super::index::column::truths;
use super::mistake::located;
use super::unwound::unwound;
use crate::sql::context::session;

/// A detection that is being measured.
#[derive(Debug)]
pub struct Measuring {
    engine: Engine,
    conditions: Vec<(Condition, Passed)>,
    measured: Measured,
    open: BTreeSet<String>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How many events there were.
    pub events: u64,
    /// Its conditions as SQL, in the order in which they were planned.
    pub conditions: Vec<(String, Passed)>,
    /// How many events exceptions hid from it.
    pub hidden: u64,
    /// How many findings there are.
    pub findings: usize,
    /// What it cost, and keeps at the end.
    pub cost: Cost,
    /// All that the engine took, conditions that bits tell included.
    pub took: Duration,
    /// What failed, in words; each once.
    pub faults: BTreeSet<String>,
}

/// How many events a condition is true of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// By itself.
    pub alone: u64,
    /// With all conditions before it.
    pub left: u64,
}

impl Measuring {
    /// Begins with the one detection of a catalogue, and what is exempt from it.
    ///
    /// # Errors
    /// When it cannot be planned, with file, line and hint.
    pub fn new(catalog: &Catalog) -> Result<Self, Vec<LoadError>> {
        let settings = EngineSettings { pace: Pace::Replay, ..EngineSettings::default() };
        let engine = Engine::new(catalog, settings)?;
        let mut all = Vec::new();
        for running in engine.running() {
            let planned = session().and_then(|context| conditions(&context, running));
            let planned = planned.map_err(|error| vec![located(running.detection(), &error)])?;
            all.extend(planned.into_iter().map(|condition| (condition, Passed::default())));
        }
        let (measured, open) = (Measured::default(), BTreeSet::new());
        Ok(Self { engine, conditions: all, measured, open })
    }

    /// Takes in rows of the events table, none of them seen before; `now` is the wall clock in
    /// microseconds.
    pub fn take(&mut self, rows: &RecordBatch, now: i64) {
        self.measured.events += rows.num_rows() as u64;
        let mut left = vec![true; rows.num_rows()];
        for (condition, passed) in &mut self.conditions {
            for (left, is_true) in left.iter_mut().zip(all_true(condition, rows)) {
                *left &= is_true;
                passed.alone += u64::from(is_true);
                passed.left += u64::from(*left);
            }
        }
        let begun = Instant::now();
        let outcome = self.engine.on_batch(rows, now);
        self.measured.took += begun.elapsed();
        self.gather(outcome);
    }

    /// The events have ended.
    #[must_use]
    pub fn finish(mut self) -> Measured {
        let begun = Instant::now();
        let outcome = self.engine.finish();
        self.measured.took += begun.elapsed();
        self.gather(outcome);
        let cost = self.engine.costs().next().map(|(_, cost)| cost).unwrap_or_default();
        let conditions = self.conditions.into_iter().map(|(of, passed)| (of.sql, passed));
        let (conditions, findings) = (conditions.collect(), self.open.len());
        Measured { conditions, findings, cost, ..self.measured }
    }

    fn gather(&mut self, outcome: Outcome) {
        for finding in outcome.findings {
            match finding.status {
                Status::Open => self.open.insert(finding.id),
                Status::Withdrawn => self.open.remove(&finding.id),
            };
        }
        self.measured.hidden += outcome.exempted.values().sum::<u64>();
        self.measured.faults.extend(outcome.faults.into_iter().map(|fault| fault.message));
    }
}

/// Whether a condition is true of each row; of one on which it fails it is not.
fn all_true(condition: &Condition, rows: &RecordBatch) -> Vec<bool> {
    let on = |rows_of: Vec<u32>| {
        let values = unwound(|| condition.expression.of(rows, &UInt32Array::from(rows_of)))?;
        values.first().map_or(Ok(Vec::new()), truths)
    };
    let all = (0_u32..).take(rows.num_rows());
    let one = |row| on(vec![row]).is_ok_and(|values| values == [true]);
    on(all.clone().collect()).unwrap_or_else(|_| all.map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::rows::{EventRow, Rows};

    #[test]
    fn each_condition_says_how_many_pass() {
        let text = "/*\nid: M\ntitle: t\nseverity: low\nkey: [name]\ndescribe: \"{{name}}\"\n*/\n\
                    SELECT name FROM events WHERE verb = 'get' AND length(name) > 1 \
                    AND 100 / (response_code - 403) < 1";
        let texts = [("m.sql".to_owned(), text.to_owned())];
        let mut measuring = Measuring::new(&Catalog::from_texts(texts).unwrap()).unwrap();
        let mut rows = Rows::new();
        let events =
            [("get", "ab", 300), ("get", "a", 300), ("list", "ab", 300), ("get", "abc", 403)];
        for (number, (verb, name, code)) in (0_i64..).zip(events) {
            rows.push(&EventRow {
                cluster: "c",
                event_id: &number.to_string(),
                event_time: number,
                verb: Some(verb),
                name: Some(name),
                response_code: Some(code),
                ..EventRow::default()
            });
        }
        measuring.take(&rows.finish(), 0);
        let measured = measuring.finish();
        let passed = |part: &str| {
            let found = measured.conditions.iter().find(|(sql, _)| sql.contains(part));
            found.map(|(_, passed)| (passed.alone, passed.left)).unwrap()
        };
        assert_eq!(passed("verb").0, 3, "{measured:?}");
        assert_eq!(passed("length").0, 3, "{measured:?}");
        assert_eq!(passed("403").0, 3, "what fails is not true: {measured:?}");
        let least = measured.conditions.iter().map(|(_, passed)| passed.left).min();
        assert_eq!((least, measured.cost.rows, measured.findings), (Some(1), 1, 1));
        assert_eq!((measured.events, measured.cost.keys), (4, 1));
        assert_eq!(measured.faults.len(), 1, "{measured:?}");
    }
}
