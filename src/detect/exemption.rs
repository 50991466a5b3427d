//! Exceptions at work: which rows of a batch their conditions are true of, asked once for all
//! detections.
//!
//! Promise: a condition is asked of rows that a detection with that exception could use, and of no
//! others but to look up a value that it has bits of; equal conditions are one. A row on which it
//! fails is not hidden by it, and costs no other row anything.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::exception::{self, Exception};
use super::index::select::{Index, Selection};
use super::outcome::Fault;
use super::running::Running;

/// An exception of a detection.
#[derive(Debug)]
pub(crate) struct Exemption {
    pub(crate) exception: Arc<Exception>,
    /// Its condition alone.
    pub(crate) condition: Expr,
    /// The condition's number among those of all detections.
    pub(crate) number: usize,
}

impl Exemption {
    /// Plans the condition.
    ///
    /// # Errors
    /// When it does not plan.
    pub(crate) fn new(exception: &Arc<Exception>) -> Result<Self> {
        let condition = condition(&exception.condition)?;
        Ok(Self { exception: Arc::clone(exception), condition, number: usize::MAX })
    }

    /// True of the events that it hides.
    pub(crate) fn whole(&self) -> Expr {
        self.exception.whole(self.condition.clone())
    }
}

/// How many conditions of exceptions are kept planned; then all of them go.
const CONDITIONS_MAX: usize = 4_096;

/// An exception's condition, planned once for all: a list's is that of many detections, and of
/// every engine.
fn condition(text: &str) -> Result<Expr> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Expr>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(condition) = known().get(text) {
        return Ok(condition.clone());
    }
    let planned = exception::planned(text)?;
    let mut known = known();
    if known.len() >= CONDITIONS_MAX {
        known.clear();
    }
    known.insert(text.to_owned(), planned.clone());
    Ok(planned)
}

/// The conditions of the exceptions of all detections.
#[derive(Debug)]
pub(crate) struct Exemptions {
    index: Index,
    /// Of each condition, the number of those that have it, in `scopes`.
    scope_of: Vec<usize>,
    /// Detections that have the same conditions: most come from a list, and go together.
    scopes: Vec<Vec<usize>>,
}

/// What is hidden of a batch.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// The rows that each condition is true of, ascending, among those that were asked about.
    pub(crate) rows: Vec<Vec<u32>>,
    /// Exceptions that could not be asked, of each detection that this may matter to.
    pub(crate) faults: Vec<Fault>,
    /// What asking took, by detection.
    pub(crate) took: HashMap<usize, Duration>,
}

impl Exemptions {
    /// Gives the conditions of these detections their numbers.
    ///
    /// # Errors
    /// When DataFusion cannot plan one.
    pub(crate) fn new(context: &SessionContext, detections: &mut [Running]) -> Result<Self> {
        let mut numbers: HashMap<Expr, usize> = HashMap::new();
        let (mut conditions, mut users) = (Vec::new(), Vec::<Vec<usize>>::new());
        for (detection, running) in detections.iter_mut().enumerate() {
            for exemption in &mut running.exemptions {
                let number = *numbers.entry(exemption.condition.clone()).or_insert_with(|| {
                    conditions.push(exemption.condition.clone());
                    users.push(Vec::new());
                    users.len() - 1
                });
                exemption.number = number;
                if let Some(users) = users.get_mut(number).filter(|of| !of.contains(&detection)) {
                    users.push(detection);
                }
            }
        }
        let mut scopes: Vec<Vec<usize>> = Vec::new();
        let scope_of = users.into_iter().map(|users| {
            scopes.iter().position(|scope| *scope == users).unwrap_or_else(|| {
                scopes.push(users);
                scopes.len() - 1
            })
        });
        let scope_of = scope_of.collect();
        let conditions: Vec<&[Expr]> = conditions.iter().map(std::slice::from_ref).collect();
        Ok(Self { index: Index::new(context, &conditions)?, scope_of, scopes })
    }

    /// Asks about the rows of a batch that each detection selected.
    ///
    /// # Errors
    /// When the batch is not of the events table.
    pub(crate) fn of(
        &mut self,
        batch: &RecordBatch,
        selected: &[Vec<u32>],
        detections: &[Running],
    ) -> Result<Hidden> {
        let wanted: Vec<Vec<u32>> = self
            .scopes
            .iter()
            .map(|scope| union(scope.iter().filter_map(|number| selected.get(*number))))
            .collect();
        if wanted.iter().all(Vec::is_empty) {
            return Ok(Hidden::default());
        }
        let wanted: Vec<&[u32]> = self
            .scope_of
            .iter()
            .map(|scope| wanted.get(*scope).map(Vec::as_slice).unwrap_or_default())
            .collect();
        let Selection { rows, report } = self.index.select_among(batch, &wanted)?;
        let mut hidden = Hidden { rows, ..Hidden::default() };
        for (condition, took) in report.took {
            let asking = self.asking(condition, selected);
            let part = took / u32::try_from(asking.len().max(1)).unwrap_or(u32::MAX);
            for detection in asking {
                *hidden.took.entry(detection).or_default() += part;
            }
        }
        let mut failed: Vec<(usize, String)> = report.faults.into_iter().collect();
        failed.sort();
        for (condition, message) in failed {
            let asking = self.asking(condition, selected);
            let asking = asking.into_iter().filter_map(|number| detections.get(number));
            hidden.faults.extend(asking.filter_map(|of| fault(of, condition, &message)));
        }
        Ok(hidden)
    }

    /// The detections with this condition that selected rows; the first with it when none has,
    /// since what fails on a value is told when the value is first seen.
    fn asking(&self, condition: usize, selected: &[Vec<u32>]) -> Vec<usize> {
        let scope = self.scope_of.get(condition).and_then(|scope| self.scopes.get(*scope));
        let scope = scope.map(Vec::as_slice).unwrap_or_default();
        let has_some = |number: &&usize| selected.get(**number).is_some_and(|of| !of.is_empty());
        let asking: Vec<usize> = scope.iter().filter(has_some).copied().collect();
        if asking.is_empty() { scope.iter().take(1).copied().collect() } else { asking }
    }
}

fn fault(running: &Running, condition: usize, message: &str) -> Option<Fault> {
    let exemption = running.exemptions.iter().find(|of| of.number == condition)?;
    let Exception { name, path, line, .. } = exemption.exception.as_ref();
    let message = format!(
        "the exception `{name}` ({path}:{line}) failed on an event, which it does not hide: \
         {message}"
    );
    Some(Fault { detection: running.detection().id.clone(), message })
}

/// All rows of some, ascending.
fn union<'a>(rows: impl Iterator<Item = &'a Vec<u32>>) -> Vec<u32> {
    let mut union: Vec<u32> = rows.flatten().copied().collect();
    union.sort_unstable();
    union.dedup();
    union
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::super::engine::{Engine, EngineSettings, Outcome};
    use crate::event::rows::{EventRow, Rows};

    const PER_EVENT: &str = "/*
id: T-EACH
title: each
severity: low
key: [user_name]
describe: \"{{user_name}}\"
*/
SELECT user_name, 100 / (length(name) - 3) AS share FROM events WHERE verb = 'get'";
    const WINDOWED: &str = "/*
id: T-SUM
title: sum
severity: low
window: 10m
describe: \"{{user_name}}\"
*/
SELECT user_name, sum(100 / (length(name) - 3)) AS shares FROM events WHERE verb = 'get'
GROUP BY user_name";

    /// An engine with one detection and these conditions of exceptions.
    fn engine(detection: &str, conditions: &[&str]) -> Engine {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("d.sql"), detection).unwrap();
        let id = detection.split_once("id: ").unwrap().1.split_once('\n').unwrap().0;
        let exceptions = conditions.iter().enumerate().map(|(number, condition)| {
            format!(
                "- {{name: x{number}, detection: {id}, owner: o, reason: r, expires: 2099-01-01, \
                 condition: \"{condition}\"}}\n"
            )
        });
        let exceptions: String = exceptions.collect();
        std::fs::write(dir.path().join("exceptions.yaml"), exceptions).unwrap();
        let catalog = Catalog::load(Some(dir.path())).unwrap().selected(|of| of == id);
        Engine::new(&catalog, EngineSettings::default()).unwrap()
    }

    /// An event a second of each of these: user, response code, name.
    fn take(engine: &mut Engine, events: &[(&str, i32, &str)]) -> Outcome {
        let mut rows = Rows::new();
        for (number, (user, code, name)) in (1_i64..).zip(events) {
            rows.push(&EventRow {
                cluster: "c",
                event_id: &format!("{user}{number}"),
                event_time: number * 1_000_000,
                verb: Some("get"),
                user_name: Some(user),
                response_code: Some(*code),
                name: Some(name),
                ..EventRow::default()
            });
        }
        engine.on_batch(&rows.finish(), 10_000_000)
    }

    /// Who was found, and whether it may miss something; each once.
    fn found(outcome: &Outcome) -> Vec<(String, bool)> {
        let found = outcome.findings.iter();
        let mut found: Vec<(String, bool)> =
            found.map(|of| (of.summary(), of.incomplete)).collect();
        found.sort();
        found.dedup();
        found
    }

    fn who(names: &[&str], incomplete: bool) -> Vec<(String, bool)> {
        names.iter().map(|name| ((*name).to_owned(), incomplete)).collect()
    }

    #[test]
    fn an_exception_that_fails_on_a_row_hides_others_but_not_it() {
        // One is told by values of a column, the other is worked out row by row.
        let conditions = ["100 / (response_code - 403) > 0", "100 / (length(name) - 4) > 50"];
        let each = PER_EVENT.replace("100 / (length(name) - 3) AS share", "name");
        let mut engine = engine(&each, &conditions);
        let events = [
            ("before", 200, "ab"),
            ("by-code", 404, "ab"),
            ("fails-by-code", 403, "ab"),
            ("by-name", 200, "abcde"),
            ("fails-by-name", 200, "abcd"),
            ("after", 200, "ab"),
        ];
        let outcome = take(&mut engine, &events);
        let told = ["after", "before", "fails-by-code", "fails-by-name"];
        assert_eq!(found(&outcome), who(&told, false), "{:?}", outcome.faults);
        let hid = outcome.exempted.iter().map(|(of, count)| (of.exception.as_str(), *count));
        assert_eq!(hid.collect::<Vec<_>>(), [("x0", 1), ("x1", 1)]);
        let faults = &outcome.faults;
        assert_eq!(faults.len(), 2, "{faults:?}");
        for (fault, name) in faults.iter().zip(["`x0`", "`x1`"]) {
            assert_eq!(fault.detection, "T-EACH");
            assert!(fault.message.contains(name), "{fault:?}");
        }
    }

    #[test]
    fn a_row_that_nothing_can_be_made_of_costs_no_other_and_is_told() {
        let mut engine = engine(PER_EVENT, &[]);
        assert_eq!(found(&take(&mut engine, &[("early", 200, "ab")])), who(&["early"], false));
        let outcome = take(&mut engine, &[("a", 200, "ab"), ("b", 200, "abc"), ("c", 200, "ab")]);
        assert_eq!(found(&outcome), who(&["a", "c"], true));
        assert_eq!(outcome.faults.len(), 1, "{:?}", outcome.faults);
        assert_eq!(found(&take(&mut engine, &[("later", 200, "ab")])), who(&["later"], true));
    }

    #[test]
    fn windows_that_a_row_was_lost_for_say_so() {
        let mut engine = self::engine(WINDOWED, &[]);
        let mut outcome =
            take(&mut engine, &[("a", 200, "ab"), ("b", 200, "abc"), ("c", 200, "ab")]);
        assert_eq!(outcome.faults.len(), 1, "{:?}", outcome.faults);
        outcome.findings.extend(engine.finish().findings);
        assert_eq!(found(&outcome), who(&["a", "c"], true));
    }

    #[test]
    fn what_hides_first_counts_and_what_no_detection_takes_is_not_asked() {
        let conditions = ["user_name = 'a' AND name LIKE 'a%'", "name LIKE 'ab%'"];
        let mut engine = engine(PER_EVENT, &conditions);
        let outcome = take(&mut engine, &[("a", 200, "ab"), ("b", 200, "ab"), ("c", 200, "c")]);
        assert_eq!(found(&outcome), who(&["c"], false));
        let hid = outcome.exempted.iter().map(|(of, count)| (of.exception.as_str(), *count));
        assert_eq!(hid.collect::<Vec<_>>(), [("x0", 1), ("x1", 1)]);
        let unused = PER_EVENT.replace("verb = 'get'", "verb = 'list'");
        let mut engine = self::engine(&unused, &["100 / (length(name) - 3) > 50"]);
        let outcome = take(&mut engine, &[("a", 200, "abc")]);
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    }
}
