//! SQL to something that runs: DataFusion plans a detection's query once, here it is checked and
//! classified.
//!
//! Without a window: a filter and a projection, nothing else, so that every output row belongs to
//! one event. With a window: GROUP BY with or without HAVING, whose groups are the keys and are
//! added up as events come; or any other shape (`key:` names the key), re-run over the windows
//! that changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ParamValues, Result, ScalarValue};
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Volatility,
};
use datafusion::prelude::SessionContext;

use super::absent::{Absent, Clock};
use super::chain::findings_schema;
use super::compiled::Slot;
use super::detection::{Detection, Kind, LoadError, Param};
use super::execution::Execution;
use super::first_seen::FirstSeen;
use super::intake::Intake;
use super::mistake::{line_containing, located};
use super::per_event::PerEvent;
use super::windowed::windowed;
use crate::event::schema::events_schema;
use crate::sql::context::session;
use crate::sql::functions::register_addresses;

/// A detection taken apart: what it takes of events, and what comes of it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) intake: Intake,
    pub(crate) execution: Execution,
}

/// The columns that identify an event, in the order in which plans append them.
pub(crate) const EVENT_COLUMNS: [&str; 3] = ["event_time", "event_id", "audit_id"];

/// Plans a detection.
///
/// # Errors
/// With file, line where known, and a hint, when the query does not parse, names something that
/// does not exist, or has a shape that cannot be a detection.
pub(crate) async fn plan(detection: &Arc<Detection>) -> Result<Planned, LoadError> {
    let slot = Slot::new(table_of(detection).1);
    let (context, logical) =
        plan_over(detection, &slot).await.map_err(|error| located(detection, &error))?;
    check_params(detection, &logical)?;
    let logical = bind(detection, logical).map_err(|error| located(detection, &error))?;
    check_functions(detection, &logical)?;
    check_distinct(detection, &logical)?;
    check_describe(detection, &logical)?;
    if detection.window.is_some() {
        windowed(detection, &context, &logical, &slot).await
    } else {
        per_event(detection, &context, &logical)
    }
}

/// The one table that a detection's query reads: its name and columns.
pub(crate) fn table_of(detection: &Detection) -> (&'static str, SchemaRef) {
    match detection.kind {
        Kind::OverFindings => ("findings", findings_schema()),
        _ => ("events", events_schema()),
    }
}

/// The query's logical plan over its table = `slot`, placeholders still open.
pub(crate) async fn plan_over(
    detection: &Detection,
    slot: &Arc<Slot>,
) -> Result<(SessionContext, LogicalPlan)> {
    let context = session()?;
    register_addresses(&context, &detection.addresses);
    context.register_table(table_of(detection).0, slot.table()?)?;
    let logical = context.state().create_logical_plan(&detection.sql).await?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&logical)?;
    Ok((context, logical))
}

pub(crate) fn bind(detection: &Detection, logical: LogicalPlan) -> Result<LogicalPlan> {
    let values = detection.params.iter().map(|(name, value)| {
        let scalar = match value {
            Param::Bool(value) => ScalarValue::from(*value),
            Param::Int(value) => ScalarValue::from(*value),
            Param::Float(value) => ScalarValue::from(*value),
            Param::Text(value) => ScalarValue::from(value.as_str()),
        };
        (name.clone(), ScalarAndMetadata::from(scalar))
    });
    logical.with_param_values(ParamValues::Map(values.collect()))
}

fn check_params(detection: &Detection, logical: &LogicalPlan) -> Result<(), LoadError> {
    let used = logical.get_parameter_names().map_err(|error| located(detection, &error))?;
    let used: BTreeSet<&str> = used.iter().map(|name| name.trim_start_matches('$')).collect();
    let given: BTreeSet<&str> = detection.params.keys().map(String::as_str).collect();
    if let Some(name) = used.difference(&given).next() {
        let line = line_containing(&detection.sql, &format!("${name}"));
        let hint = format!("add `{name}` to `params:` in the front matter");
        return Err(detection.error(line, format!("no value for `${name}`"), Some(hint)));
    }
    if let Some(name) = given.difference(&used).next() {
        let hint = format!("use `${name}` in the query or remove it");
        let line = detection.line_of("params");
        return Err(detection.error(line, format!("params: `{name}` is not used"), Some(hint)));
    }
    Ok(())
}

/// A function whose value depends on more than the row would break "one text, one meaning".
fn check_functions(detection: &Detection, logical: &LogicalPlan) -> Result<(), LoadError> {
    let volatile = |expr: &Expr| match expr {
        Expr::ScalarFunction(function)
            if function.func.signature().volatility != Volatility::Immutable =>
        {
            Some(function.func.name().to_owned())
        }
        _ => None,
    };
    let Some(name) = first_in(detection, logical, volatile)? else { return Ok(()) };
    let line = line_containing(&detection.sql, &format!("{name}("));
    let hint = "compare with event_time, or use a window".to_owned();
    let message = format!("`{name}()` has no place in a detection: its value changes");
    Err(detection.error(line, message, Some(hint)))
}

/// `a IS DISTINCT FROM 'x' AND b` is read as `a IS DISTINCT FROM ('x' AND b)`, which nobody means
/// and which is true of nearly every row.
fn check_distinct(detection: &Detection, logical: &LogicalPlan) -> Result<(), LoadError> {
    let swallowed = |expr: &Expr| match expr {
        Expr::BinaryExpr(BinaryExpr {
            op: Operator::IsDistinctFrom | Operator::IsNotDistinctFrom,
            right,
            ..
        }) => match right.as_ref() {
            Expr::BinaryExpr(right) if matches!(right.op, Operator::And | Operator::Or) => {
                Some(right.op.to_string())
            }
            _ => None,
        },
        _ => None,
    };
    let Some(operator) = first_in(detection, logical, swallowed)? else { return Ok(()) };
    let line = line_containing(&detection.sql.to_uppercase(), "DISTINCT FROM");
    let message = format!("`IS DISTINCT FROM` takes the `{operator}` behind it for its right side");
    let hint = "put the comparison in parentheses: `(a IS DISTINCT FROM 'x')`".to_owned();
    Err(detection.error(line, message, Some(hint)))
}

/// What `find` says of the first expression of which it says something.
fn first_in<T>(
    detection: &Detection,
    logical: &LogicalPlan,
    find: impl Fn(&Expr) -> Option<T>,
) -> Result<Option<T>, LoadError> {
    let mut found = None;
    let walked = logical.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = found.take().or_else(|| find(expr));
                let is_found = found.is_some();
                Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    });
    walked.map_err(|error| located(detection, &error))?;
    Ok(found)
}

fn check_describe(detection: &Detection, logical: &LogicalPlan) -> Result<(), LoadError> {
    let columns: Vec<&str> =
        logical.schema().fields().iter().map(|field| field.name().as_str()).collect();
    for name in detection.placeholders() {
        if !columns.contains(&name) {
            let message = format!("describe: `{{{{{name}}}}}` is not a column of the query");
            let hint = format!("the query gives: {}", columns.join(", "));
            return Err(detection.error(detection.line_of("describe"), message, Some(hint)));
        }
    }
    let novel = match &detection.kind {
        Kind::FirstSeen(novelty) => novelty.key.as_slice(),
        _ => &[],
    };
    for name in detection.key.iter().chain(novel) {
        if !columns.contains(&name.as_str()) {
            let message = format!("key: `{name}` is not a column of the query");
            let hint = format!("the query gives: {}", columns.join(", "));
            return Err(detection.error(detection.line_of("key"), message, Some(hint)));
        }
    }
    Ok(())
}

fn per_event(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
) -> Result<Planned, LoadError> {
    let LogicalPlan::Projection(projection) = logical else {
        return Err(not_per_event(detection));
    };
    if !is_filter_and_projection(&projection.input) {
        return Err(not_per_event(detection));
    }
    if detection.key.is_empty() && !matches!(detection.kind, Kind::Silent(_)) {
        let hint = "add `key: [columns]`, for example `key: [user_name]`".to_owned();
        return Err(detection.error(None, "no `key`".to_owned(), Some(hint)));
    }
    let arrival = matches!(detection.kind, Kind::Silent(_)).then_some("ingest_time");
    let columns: Vec<&str> = EVENT_COLUMNS.into_iter().chain(arrival).collect();
    let extended =
        with_columns(projection, &columns).map_err(|error| located(detection, &error))?;
    let intake = Intake::of(context, &extended).map_err(|error| located(detection, &error))?;
    let intake = intake.ok_or_else(|| not_per_event(detection))?;
    let detection = Arc::clone(detection);
    let execution = match detection.kind.clone() {
        Kind::FirstSeen(novelty) => Execution::FirstSeen(FirstSeen::new(detection, novelty)),
        Kind::Absent(length) => Execution::Absent(Absent::new(detection, length, Clock::Events)),
        Kind::Silent(length) => Execution::Absent(Absent::new(detection, length, Clock::Arrival)),
        Kind::Plain | Kind::OverFindings => Execution::PerEvent(PerEvent::new(detection)),
    };
    Ok(Planned { intake, execution })
}

fn not_per_event(detection: &Detection) -> LoadError {
    let hint = "without `window:` a query is SELECT ... FROM events WHERE ..., nothing more; \
                to group, join or sort events, name a `window:`";
    let message = "the query is more than a filter over single events".to_owned();
    detection.error(None, message, Some(hint.to_owned()))
}

pub(crate) fn is_filter_and_projection(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => is_filter_and_projection(&node.input),
        LogicalPlan::Filter(node) => is_filter_and_projection(&node.input),
        LogicalPlan::SubqueryAlias(node) => is_filter_and_projection(&node.input),
        LogicalPlan::TableScan(_) => true,
        _ => false,
    }
}

/// The projection with further columns of its input behind its own.
fn with_columns(projection: &Projection, names: &[&str]) -> Result<LogicalPlan> {
    let mut expressions = projection.expr.clone();
    for name in names {
        let column = input_column(projection.input.schema(), name)?;
        expressions.push(column.alias(format!("__{name}")));
    }
    LogicalPlanBuilder::from(projection.input.as_ref().clone()).project(expressions)?.build()
}

pub(crate) fn input_column(schema: &DFSchema, name: &str) -> Result<Expr> {
    let (qualifier, field) = schema.qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(Column::new(qualifier.cloned(), field.name())))
}
