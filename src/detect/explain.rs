//! Why an event counts for a detection, or does not: each condition worked out by itself, what
//! exempts it, and the key, the buckets and the windows that it counts in.
//!
//! Promise: it asks what the engine asks, of the same conditions and exceptions, so that an event
//! is said to match when the engine takes it in. It does not say that a finding came of it: that
//! is for the other events of its windows, too, to say. It says which findings these would be.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, UInt32Array};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::prelude::SessionContext;
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;

use super::catalog::Catalog;
use super::detection::{Detection, Kind, LoadError, Window};
use super::engine::{Engine, EngineSettings};
use super::exception::Exception;
use super::execution::Execution;
use super::exemption::Exemption;
use super::explained::{filters, having};
use super::finding::{Identity, bucket};
use super::intake::Expressions;
use super::rows::{event_times, key_bytes};
use super::running::Running;
use super::unwound::unwound;
use super::value::Value;
use crate::event::schema::events_schema;
use crate::sql::context::session;

/// Detections, ready to be asked about single events.
#[derive(Debug)]
pub struct Explainer {
    engine: Engine,
    /// Of each detection.
    conditions: Vec<Vec<Condition>>,
    /// Of each detection, what exempts from it.
    exempting: Vec<Vec<Exempting>>,
}

/// An exception, and its condition.
type Exempting = (Arc<Exception>, Arc<Expressions>);

/// A condition, ready to be asked.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) expression: Expressions,
}

/// What a detection made of an event.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The detection.
    pub detection: Arc<Detection>,
    /// How it runs, in a word.
    pub class: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// All of its conditions, in the order in which they were planned.
    pub conditions: Vec<Told>,
}

/// Whether an event counts for a detection.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It does.
    Matched(Place),
    /// All conditions are true, and the exception of this name hides it.
    Exempted(String),
    /// Conditions are not true of it.
    Failed,
    /// It could not be told.
    Fault(String),
    /// The detection reads findings, not events.
    OverFindings,
}

/// Where an event counts.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The key it belongs to, without the cluster; columns of the key that the query works out of
    /// several events are left out.
    pub key: Vec<(String, Value)>,
    /// From and up to when the deduplication buckets reach that it can count in, microseconds of
    /// event time. Without a window there is one.
    pub buckets: (i64, i64),
    /// The windows that hold it, `[start, end)`, ascending, microseconds of event time.
    pub windows: Vec<(i64, i64)>,
    /// What a group of events must reach to be found, as far as it is told in counts.
    pub thresholds: Vec<String>,
    /// The whole HAVING of a query that groups plainly: windows are found of which it is true.
    pub having: Option<String>,
    /// The FILTER conditions of what is added up: the event counts there only where they are true.
    pub filters: Vec<Told>,
    /// The ids that findings have that it can count in; none when other events make the key, too.
    pub findings: Vec<String>,
}

/// A condition and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As SQL over the columns of `events`.
    pub sql: String,
    /// Whether it is true.
    pub truth: Truth,
}

/// What a condition comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// True.
    True,
    /// False.
    False,
    /// NULL: the event does not say.
    Unknown,
    /// It cannot be worked out.
    Failed(String),
}

impl Truth {
    /// In a word, as in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
            Self::Failed(_) => "failed",
        }
    }
}

impl Considered {
    /// The conditions that are not true.
    pub fn failed(&self) -> impl Iterator<Item = &Told> {
        self.conditions.iter().filter(|told| told.truth != Truth::True)
    }

    /// Matches first, then what is exempt, then by the number of conditions that are not true.
    fn rank(&self) -> (usize, usize) {
        let class = match self.verdict {
            Verdict::Matched(_) => 0,
            Verdict::Exempted(_) => 1,
            Verdict::Fault(_) => 2,
            Verdict::Failed => 3,
            Verdict::OverFindings => 4,
        };
        (class, self.failed().count())
    }
}

impl Explainer {
    /// Plans every detection of the catalogue.
    ///
    /// # Errors
    /// All detections that cannot be planned, each with file, line and hint.
    pub fn new(catalog: &Catalog) -> Result<Self, Vec<LoadError>> {
        let engine = Engine::new(catalog, EngineSettings::default())?;
        let failed = |running: &Running, error: &DataFusionError| {
            let message = format!("plan conditions: {}", error.strip_backtrace());
            vec![running.detection().error(None, message, None)]
        };
        let (mut known, mut all, mut exempt) = (HashMap::new(), Vec::new(), Vec::new());
        for running in engine.running() {
            let planned = session().and_then(|context| {
                Ok((conditions(&context, running)?, exempting(&context, running, &mut known)?))
            });
            let (conditions, exempting) = planned.map_err(|error| failed(running, &error))?;
            all.push(conditions);
            exempt.push(exempting);
        }
        Ok(Self { engine, conditions: all, exempting: exempt })
    }

    /// What each detection makes of one row of a batch of the events table: matches first, then
    /// those of which the fewest conditions are not true, by id where equal.
    ///
    /// # Errors
    /// When the batch is not of the events table, or has no such row.
    pub fn explain(&self, batch: &RecordBatch, row: u32) -> Result<Vec<Considered>> {
        let event = batch.slice(row as usize, 1);
        let time = event_times(&event)?.first().copied().unwrap_or_default();
        let cluster = event.column_by_name("cluster").map(|column| Value::at(column, 0));
        let cluster = match cluster {
            Some(Value::Text(cluster)) => cluster,
            _ => String::new(),
        };
        let all = self.engine.running().iter().zip(self.conditions.iter().zip(&self.exempting));
        let mut all: Vec<Considered> = all
            .map(|(running, asked)| consider(running, asked, &event, (&cluster, time)))
            .collect();
        all.sort_by(|a, b| a.rank().cmp(&b.rank()).then(a.detection.id.cmp(&b.detection.id)));
        Ok(all)
    }
}

pub(super) fn conditions(context: &SessionContext, running: &Running) -> Result<Vec<Condition>> {
    let planned = running.conditions.iter().map(|expr| {
        let expression = Expressions::new(context, std::slice::from_ref(expr))?;
        Ok(Condition { sql: sql(expr), expression })
    });
    planned.collect()
}

/// What exempts from a detection; conditions that are known are not planned again.
fn exempting(
    context: &SessionContext,
    running: &Running,
    known: &mut HashMap<Expr, Arc<Expressions>>,
) -> Result<Vec<Exempting>> {
    let mut exempting = Vec::new();
    for Exemption { exception, condition, .. } in &running.exemptions {
        let planned = match known.get(condition) {
            Some(planned) => Arc::clone(planned),
            None => Arc::new(Expressions::new(context, std::slice::from_ref(condition))?),
        };
        known.insert(condition.clone(), Arc::clone(&planned));
        exempting.push((Arc::clone(exception), planned));
    }
    Ok(exempting)
}

/// An expression as people write it; what SQL has no words for, as it is planned.
pub(crate) fn sql(expr: &Expr) -> String {
    let written = expr.clone().transform_up(|expr| match expr {
        Expr::Cast(cast) if is_text(&cast.expr) && cast.field.data_type().is_string() => {
            Ok(Transformed::yes(*cast.expr))
        }
        other => Ok(Transformed::no(other)),
    });
    let written = written.map_or_else(|_| expr.clone(), |written| written.data);
    let words = Unparser::new(&Unquoted).with_pretty(true).expr_to_sql(&written);
    words.map_or_else(|_| expr.to_string(), |sql| sql.to_string())
}

/// Whether an expression is a text anyway: nobody wrote that it is made one.
fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => {
            let schema = events_schema();
            let field = schema.field_with_name(&column.name);
            field.is_ok_and(|field| match field.data_type() {
                DataType::Dictionary(_, value) => value.is_string(),
                other => other.is_string(),
            })
        }
        Expr::BinaryExpr(of) => of.op == Operator::StringConcat,
        _ => false,
    }
}

/// No column of the events table needs quotes.
struct Unquoted;

impl Dialect for Unquoted {
    fn identifier_quote_style(&self, _: &str) -> Option<char> {
        None
    }
}

fn consider(
    running: &Running,
    (conditions, exempting): (&Vec<Condition>, &Vec<Exempting>),
    event: &RecordBatch,
    (cluster, time): (&str, i64),
) -> Considered {
    let detection = Arc::clone(running.detection());
    let class = running.execution.class();
    if detection.kind == Kind::OverFindings {
        let (verdict, conditions) = (Verdict::OverFindings, Vec::new());
        return Considered { detection, class, verdict, conditions };
    }
    let conditions: Vec<Told> = conditions
        .iter()
        .map(|Condition { sql, expression }| Told {
            sql: sql.clone(),
            truth: truth(expression, event),
        })
        .collect();
    let verdict = if conditions.iter().all(|told| told.truth == Truth::True) {
        // An exception that fails hides nothing.
        let hides = exempting.iter().find(|(exception, condition)| {
            let holds = exception.is_of(cluster) && !exception.is_expired(time);
            holds && truth(condition, event) == Truth::True
        });
        let counts = match hides {
            Some((exception, _)) => Ok(Verdict::Exempted(exception.name.clone())),
            None => unwound(|| counts(running, event, (cluster, time))),
        };
        counts.unwrap_or_else(|error| Verdict::Fault(error.strip_backtrace()))
    } else {
        Verdict::Failed
    };
    Considered { detection, class, verdict, conditions }
}

/// A panic is the condition's alone, as it is in the engine.
fn truth(expression: &Expressions, event: &RecordBatch) -> Truth {
    let only = UInt32Array::from(vec![0]);
    let value = unwound(|| Ok(expression.of(event, &only)?.into_iter().next()));
    let value: Option<ArrayRef> = match value {
        Ok(value) => value,
        Err(error) => return Truth::Failed(error.strip_backtrace()),
    };
    value.as_ref().map_or(Truth::Unknown, truth_of)
}

/// What the first of some truth values says.
fn truth_of(values: &ArrayRef) -> Truth {
    match values.as_boolean_opt().filter(|values| !values.is_empty() && values.is_valid(0)) {
        Some(values) if values.value(0) => Truth::True,
        Some(_) => Truth::False,
        None => Truth::Unknown,
    }
}

/// The most findings that an event is said to count in: buckets may be much shorter than windows.
const FINDINGS_MAX: usize = 100;

/// True when a key is all of the key that its findings have: of other shapes the query works it out
/// of several events, or findings come at times of their own.
fn is_whole(running: &Running, key: &[(String, Value)]) -> bool {
    match &running.execution {
        Execution::Windowed(of) => of.plan().names.len() == key.len(),
        Execution::Requery(of) => of.plans().key.len() == key.len(),
        Execution::PerEvent(_) | Execution::FirstSeen(_) => {
            running.detection().key_names().len() == key.len()
        }
        Execution::Chain(_) | Execution::Absent(_) => false,
    }
}

/// What becomes of an event of which all conditions are true.
fn counts(running: &Running, event: &RecordBatch, (cluster, time): (&str, i64)) -> Result<Verdict> {
    let rows = running.outputs().of(event, &UInt32Array::from(vec![0]))?;
    let detection = running.detection();
    let windows = detection.window.map(|window| windows(window, time)).unwrap_or_default();
    let ends = windows.first().zip(windows.last());
    let (first, last) = ends.map_or((time, time), |((_, first), (_, last))| (*first, *last));
    let edge = |bucket: i64| bucket.saturating_mul(detection.dedup);
    let numbers = bucket(detection, first)..bucket(detection, last) + 1;
    let buckets = (edge(numbers.start), edge(numbers.end));
    let key = key(running, &rows);
    let findings = if is_whole(running, &key) {
        let values: Vec<Value> = key.iter().map(|(_, value)| value.clone()).collect();
        let key = key_bytes(&values);
        let id = |bucket| Identity { detection, cluster, key: &key, bucket }.id();
        numbers.take(FINDINGS_MAX).map(id).collect()
    } else {
        Vec::new()
    };
    let filters = filters(running)
        .into_iter()
        .filter_map(|(at, sql)| Some(Told { sql, truth: truth_of(rows.columns().get(at)?) }));
    let filters = filters.collect();
    let having = detection.window.and_then(|_| having(detection));
    let thresholds = match &running.execution {
        Execution::Windowed(of) => of.plan().thresholds.clone(),
        _ => Vec::new(),
    };
    Ok(Verdict::Matched(Place { key, buckets, windows, thresholds, having, filters, findings }))
}

fn windows(window: Window, time: i64) -> Vec<(i64, i64)> {
    let ends = window.ends(window.pane(time));
    ends.map(|end| (end.saturating_sub(window.length), end)).collect()
}

/// The key of the only row of what a detection takes of events.
fn key(running: &Running, rows: &RecordBatch) -> Vec<(String, Value)> {
    let named = |names: &[String]| -> Vec<(String, Value)> {
        let cells =
            names.iter().map(|name| Some((name.clone(), Value::at(rows.column_by_name(name)?, 0))));
        cells.flatten().collect()
    };
    match &running.execution {
        Execution::Windowed(of) => {
            let cells = of.plan().names.iter().zip(rows.columns());
            cells.map(|(name, column)| (name.clone(), Value::at(column, 0))).collect()
        }
        Execution::Requery(of) | Execution::Chain(of) => named(&of.plans().key),
        _ => named(&running.detection().key_names()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::rows::{EventRow, Rows};

    const MINUTE: i64 = 60_000_000;
    const WINDOWED: &str = "/*
id: W
title: many
severity: low
window: 10m
slide: 5m
params: {least: 3}
describe: \"{{user_name}}\"
*/
SELECT cluster, lower(user_name) AS who, user_name, count(DISTINCT name) AS names,
  count(*) FILTER (WHERE name LIKE 'x%') AS some FROM events
WHERE verb = 'get' AND response_code < 400
GROUP BY cluster, lower(user_name), user_name
HAVING count(DISTINCT name) >= $least AND min(response_code) < 300";
    const PLAIN: &str = "/*
id: P
title: one
severity: low
key: [name]
describe: \"{{name}}\"
*/
SELECT name, user_name FROM events
WHERE verb = 'delete' AND resource = 'secrets' AND (name LIKE 'a%' OR namespace = 'b')";

    fn considered(row: &EventRow<'_>) -> Vec<Considered> {
        let texts = [("w.sql", WINDOWED), ("p.sql", PLAIN)];
        let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let explainer = Explainer::new(&Catalog::from_texts(texts).unwrap()).unwrap();
        let mut rows = Rows::new();
        rows.push(&EventRow { cluster: "c", event_id: "00", ..EventRow::default() });
        rows.push(row);
        explainer.explain(&rows.finish(), 1).unwrap()
    }

    fn failed(of: &Considered) -> Vec<(String, &'static str)> {
        of.failed().map(|told| (told.sql.clone(), told.truth.as_str())).collect()
    }

    fn event() -> EventRow<'static> {
        EventRow {
            cluster: "c",
            event_id: "01",
            event_time: 62 * MINUTE,
            verb: Some("get"),
            user_name: Some("Eve"),
            response_code: Some(200),
            name: Some("x"),
            ..EventRow::default()
        }
    }

    #[test]
    fn a_match_has_its_key_windows_and_buckets() {
        let all = considered(&event());
        assert_eq!(all[0].detection.id, "W");
        assert_eq!(all[0].class, "incremental windows");
        let Verdict::Matched(place) = &all[0].verdict else { panic!("{all:?}") };
        let text = |text: &str| Value::Text(text.to_owned());
        let key = [("who".to_owned(), text("eve")), ("user_name".to_owned(), text("Eve"))];
        assert_eq!(place.key, key);
        let windows = [(55 * MINUTE, 65 * MINUTE), (60 * MINUTE, 70 * MINUTE)];
        assert_eq!(place.windows, windows);
        assert_eq!(place.buckets, (60 * MINUTE, 120 * MINUTE));
        assert_eq!(place.thresholds, ["count(DISTINCT name) >= 3"]);
        let having = "count(DISTINCT name) >= 3 AND min(response_code) < 300";
        assert_eq!(place.having.as_deref(), Some(having));
        let filter = Told { sql: "name LIKE 'x%'".to_owned(), truth: Truth::True };
        assert_eq!(place.filters, [filter]);
        assert_eq!(place.findings.len(), 1);
        let all = considered(&EventRow { name: Some("y"), ..event() });
        let Verdict::Matched(other) = &all[0].verdict else { panic!("{all:?}") };
        assert_eq!(other.filters[0].truth, Truth::False);
        assert_eq!(other.findings, place.findings);
    }

    #[test]
    fn what_is_not_true_is_told_and_the_nearest_come_first() {
        let all = considered(&EventRow { verb: Some("delete"), response_code: None, ..event() });
        let ids: Vec<&str> = all.iter().map(|of| of.detection.id.as_str()).collect();
        assert_eq!(ids, ["P", "W"]);
        assert_eq!(
            failed(&all[0]),
            [
                ("resource = 'secrets'".to_owned(), "unknown"),
                ("name LIKE 'a%' OR namespace = 'b'".to_owned(), "unknown")
            ]
        );
        assert_eq!(
            failed(&all[1]),
            [("verb = 'get'".to_owned(), "false"), ("response_code < 400".to_owned(), "unknown")]
        );
        let hit = EventRow { verb: Some("delete"), resource: Some("secrets"), ..event() };
        let all = considered(&EventRow { name: Some("abc"), ..hit });
        let Verdict::Matched(place) = &all[0].verdict else { panic!("{all:?}") };
        assert_eq!(place.key, [("name".to_owned(), Value::Text("abc".to_owned()))]);
        assert_eq!((place.windows.len(), place.buckets), (0, (60 * MINUTE, 120 * MINUTE)));
    }
}
