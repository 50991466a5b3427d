//! SQL to something that runs: DataFusion plans a detection's query once, here it is taken apart
//! and classified.
//!
//! Without a window: a filter and a projection, nothing else, so that every output row belongs to
//! one event. With a window: GROUP BY with or without HAVING (the groups are the keys), or any
//! other shape (`key:` names the key), both re-run over the windows that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ParamValues, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Volatility,
};
use datafusion::prelude::SessionContext;

use super::compiled::{Compiled, Slot};
use super::detection::{Detection, LoadError, Param};
use super::monotone::is_monotone;
use super::per_event::PerEvent;
use super::requery::Requery;
use crate::event::schema::events_schema;
use crate::sql::context::session;

/// How a detection runs.
#[derive(Debug)]
pub(crate) enum Execution {
    /// Filter and projection over each event.
    PerEvent(PerEvent),
    /// The query re-run over the buffered windows that changed.
    Requery(Requery),
}

/// The columns that identify an event, in the order in which plans append them.
pub(crate) const EVENT_COLUMNS: [&str; 3] = ["event_time", "event_id", "audit_id"];

/// Plans a detection.
///
/// # Errors
/// With file, line where known, and a hint, when the query does not parse, names something that
/// does not exist, or has a shape that cannot be a detection.
pub(crate) async fn plan(detection: &Arc<Detection>) -> Result<Execution, LoadError> {
    let slot = Slot::new(events_schema());
    let (context, logical) = plan_over(detection, &slot)
        .await
        .map_err(|error| located(detection, &error))?;
    check_params(detection, &logical)?;
    let logical = bind(detection, logical).map_err(|error| located(detection, &error))?;
    check_functions(detection, &logical)?;
    check_describe(detection, &logical)?;
    let optimized = context.state().optimize(&logical);
    let optimized = optimized.map_err(|error| located(detection, &error))?;
    let execution = if detection.window.is_some() {
        windowed(detection, &context, &logical, &optimized, &slot).await?
    } else {
        per_event(detection, &context, &logical, &slot).await?
    };
    Ok(execution)
}

/// The query's logical plan over `events` = `slot`, placeholders still open.
async fn plan_over(
    detection: &Detection,
    slot: &Arc<Slot>,
) -> Result<(SessionContext, LogicalPlan)> {
    let context = session()?;
    context.register_table("events", slot.table()?)?;
    let logical = context.state().create_logical_plan(&detection.sql).await?;
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    read_only.verify_plan(&logical)?;
    Ok((context, logical))
}

fn bind(detection: &Detection, logical: LogicalPlan) -> Result<LogicalPlan> {
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
    let mut volatile = None;
    let walked = logical.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(function) = expr
                    && function.func.signature().volatility != Volatility::Immutable
                {
                    volatile = Some(function.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|error| located(detection, &error))?;
    match volatile {
        None => Ok(()),
        Some(name) => {
            let line = line_containing(&detection.sql, &format!("{name}("));
            let hint = "compare with event_time, or use a window".to_owned();
            let message = format!("`{name}()` has no place in a detection: its value changes");
            Err(detection.error(line, message, Some(hint)))
        }
    }
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
    for name in &detection.key {
        if !columns.contains(&name.as_str()) {
            let message = format!("key: `{name}` is not a column of the query");
            let hint = format!("the query gives: {}", columns.join(", "));
            return Err(detection.error(detection.line_of("key"), message, Some(hint)));
        }
    }
    Ok(())
}

async fn per_event(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Execution, LoadError> {
    let LogicalPlan::Projection(projection) = logical else {
        return Err(not_per_event(detection));
    };
    if !is_filter_and_projection(&projection.input) {
        return Err(not_per_event(detection));
    }
    if detection.key.is_empty() {
        let hint = "add `key: [columns]`, for example `key: [user_name]`".to_owned();
        return Err(detection.error(None, "no `key`".to_owned(), Some(hint)));
    }
    let extended = with_columns(projection, &EVENT_COLUMNS)
        .map_err(|error| located(detection, &error))?;
    let compiled = Compiled::new(context, &extended, slot).await;
    let compiled = compiled.map_err(|error| located(detection, &error))?;
    Ok(Execution::PerEvent(PerEvent::new(Arc::clone(detection), compiled)))
}

fn not_per_event(detection: &Detection) -> LoadError {
    let hint = "without `window:` a query is SELECT ... FROM events WHERE ..., nothing more; \
                to group, join or sort events, name a `window:`";
    let message = "the query is more than a filter over single events".to_owned();
    detection.error(None, message, Some(hint.to_owned()))
}

fn is_filter_and_projection(plan: &LogicalPlan) -> bool {
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

fn input_column(schema: &DFSchema, name: &str) -> Result<Expr> {
    let (qualifier, field) = schema.qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(Column::new(qualifier.cloned(), field.name())))
}

async fn windowed(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    optimized: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Execution, LoadError> {
    if grouped(logical).is_some() && !detection.key.is_empty() {
        let hint = "remove it: the GROUP BY columns are the key".to_owned();
        let message = "key: has no meaning beside GROUP BY".to_owned();
        return Err(detection.error(detection.line_of("key"), message, Some(hint)));
    }
    if grouped(logical).is_none() && detection.key.is_empty() {
        let hint = "add `key: [columns]` that name whom a finding is about".to_owned();
        let message = "no `key`, and the query is not a plain GROUP BY".to_owned();
        return Err(detection.error(None, message, Some(hint)));
    }
    let built = build_requery(detection, context, optimized, slot).await;
    built.map(Execution::Requery).map_err(|error| located(detection, &error))
}

async fn build_requery(
    detection: &Arc<Detection>,
    context: &SessionContext,
    optimized: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Requery> {
    let intake = intake(detection, optimized, slot)?;
    let intake = Compiled::new(context, &intake, slot).await?;

    // The same text again, over a table of just the columns that the buffer holds.
    let buffer = Slot::new(intake.schema());
    let (context, logical) = plan_over(detection, &buffer).await?;
    let logical = bind(detection, logical)?;
    let parts = match grouped(&logical) {
        Some(grouped) => grouped_parts(&grouped)?,
        None => odd_parts(detection, &logical, &buffer)?,
    };
    let query = Compiled::new(&context, &parts.query, &buffer).await?;
    let evidence = Compiled::new(&context, &parts.evidence, &buffer).await?;
    Ok(Requery::new(Arc::clone(detection), super::requery::Plans {
        intake,
        query,
        evidence,
        key: parts.key,
        evidence_key: parts.evidence_key,
        monotone: parts.monotone,
    }))
}

/// The rows and columns of `events` that the query can use: its scans' filters, joined by OR.
fn intake(
    detection: &Detection,
    optimized: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<LogicalPlan> {
    let mut needed: BTreeSet<String> =
        EVENT_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    let schema = events_schema();
    needed.extend(detection.key.iter().filter(|key| schema.index_of(key).is_ok()).cloned());
    // A scan without a filter above it needs every row.
    let mut scans = 0_usize;
    let mut filters = Vec::new();
    optimized.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                scans += 1;
                needed.extend(scan.projected_schema.fields().iter().map(|f| f.name().clone()));
                filters.extend(scan.filters.iter().cloned().reduce(Expr::and));
            }
            LogicalPlan::Filter(filter)
                if matches!(filter.input.as_ref(), LogicalPlan::TableScan(_)) =>
            {
                filters.push(filter.predicate.clone());
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let table: Arc<dyn TableProvider> = slot.table()?;
    let mut builder = LogicalPlanBuilder::scan("events", provider_as_source(table), None)?;
    if filters.len() == scans
        && let Some(filter) = filters.into_iter().reduce(Expr::or)
    {
        builder = builder.filter(filter)?;
    }
    let columns = schema.fields().iter().filter(|field| needed.contains(field.name()));
    builder
        .project(columns.map(|field| Expr::Column(Column::new(Some("events"), field.name()))))?
        .build()
}

/// A query of the plain shape: SELECT ... FROM (anything) GROUP BY ... [HAVING ...].
struct Grouped<'a> {
    projection: &'a Projection,
    having: Option<&'a Expr>,
    aggregate: &'a Aggregate,
}

fn grouped(logical: &LogicalPlan) -> Option<Grouped<'_>> {
    let LogicalPlan::Projection(projection) = logical else { return None };
    let (having, below) = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::Aggregate(aggregate) = below else { return None };
    let plain = !aggregate.group_expr.is_empty()
        && !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
        && is_filter_and_projection(&aggregate.input)
        && input_column(aggregate.input.schema(), "event_id").is_ok();
    plain.then_some(Grouped { projection, having, aggregate })
}

/// What a windowed query is run as.
struct Parts {
    /// The query with its key columns appended.
    query: LogicalPlan,
    /// One row per event that counts: key columns, then [`EVENT_COLUMNS`].
    evidence: LogicalPlan,
    /// Names of the key columns; `cluster` is left out, state is per cluster anyway.
    key: Vec<String>,
    /// Which key columns the evidence rows carry.
    evidence_key: Vec<usize>,
    /// Its rows can appear but never go while events come.
    monotone: bool,
}

fn grouped_parts(grouped: &Grouped<'_>) -> Result<Parts> {
    let Grouped { projection, having, aggregate } = grouped;
    let mut names = Vec::new();
    let mut outputs = projection.expr.clone();
    let mut inputs = Vec::new();
    for (expr, column) in aggregate.group_expr.iter().zip(aggregate.schema.columns()) {
        let name = key_name(projection, expr, &column);
        if name == "cluster" {
            continue;
        }
        outputs.push(Expr::Column(column).alias(format!("__key_{}", names.len())));
        inputs.push(expr.clone().unalias().alias(format!("__key_{}", names.len())));
        names.push(name);
    }
    for name in EVENT_COLUMNS {
        inputs.push(input_column(aggregate.input.schema(), name)?.alias(format!("__{name}")));
    }
    let query = LogicalPlanBuilder::from(projection.input.as_ref().clone());
    let evidence = LogicalPlanBuilder::from(aggregate.input.as_ref().clone());
    Ok(Parts {
        query: query.project(outputs)?.build()?,
        evidence: evidence.project(inputs)?.build()?,
        evidence_key: (0..names.len()).collect(),
        key: names,
        monotone: having.is_none_or(|having| is_monotone(having, aggregate)),
    })
}

/// The name of a group column: its own, or the alias that the SELECT gives it.
fn key_name(projection: &Projection, group: &Expr, column: &Column) -> String {
    if let Expr::Column(column) = group {
        return column.name.clone();
    }
    let alias = projection.expr.iter().find_map(|expr| match expr {
        Expr::Alias(alias) if *alias.expr == Expr::Column(column.clone()) => Some(&alias.name),
        _ => None,
    });
    alias.unwrap_or(&column.name).clone()
}

/// Any other shape: the key is named, and the events that count are the buffered ones that agree
/// with it in the columns of the same name.
fn odd_parts(detection: &Detection, logical: &LogicalPlan, buffer: &Arc<Slot>) -> Result<Parts> {
    let names: Vec<String> =
        detection.key.iter().filter(|name| *name != "cluster").cloned().collect();
    let schema = logical.schema();
    let mut outputs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    for (position, name) in names.iter().enumerate() {
        outputs.push(input_column(schema, name)?.alias(format!("__key_{position}")));
    }
    let table: Arc<dyn TableProvider> = buffer.table()?;
    let columns: Arc<Schema> = table.schema();
    let rows = LogicalPlanBuilder::scan("events", provider_as_source(table), None)?;
    let mut inputs = Vec::new();
    let mut evidence_key = Vec::new();
    for (position, name) in names.iter().enumerate() {
        if columns.index_of(name).is_ok() {
            let column = Expr::Column(Column::new(Some("events"), name));
            inputs.push(column.alias(format!("__key_{position}")));
            evidence_key.push(position);
        }
    }
    for name in EVENT_COLUMNS {
        inputs.push(Expr::Column(Column::new(Some("events"), name)).alias(format!("__{name}")));
    }
    Ok(Parts {
        query: LogicalPlanBuilder::from(logical.clone()).project(outputs)?.build()?,
        evidence: rows.project(inputs)?.build()?,
        key: names,
        evidence_key,
        monotone: false,
    })
}

/// DataFusion's error as one of the file: with the line, and the nearest name that exists.
fn located(detection: &Detection, error: &DataFusionError) -> LoadError {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let diagnostic = error.diagnostic();
    let span = diagnostic.and_then(|diagnostic| diagnostic.span);
    let line = span.map(|span| span.start.line).or_else(|| line_in_message(text));
    let message = match diagnostic {
        Some(diagnostic) => diagnostic.message.clone(),
        None => text.trim_start_matches("SQL error: ").to_owned(),
    };
    let helps = diagnostic.map(|diagnostic| {
        let notes = diagnostic.notes.iter().map(|note| note.message.as_str());
        notes.chain(diagnostic.helps.iter().map(|help| help.message.as_str())).collect::<Vec<_>>()
    });
    let hint = match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => nearest_column(schema_error),
        DataFusionError::SQL(..) => Some("see the SQL near that place".to_owned()),
        _ => None,
    };
    let hint = hint.or_else(|| helps.filter(|helps| !helps.is_empty()).map(|h| h.join("; ")));
    detection.error(line, message, hint)
}

fn nearest_column(error: &datafusion::common::SchemaError) -> Option<String> {
    let datafusion::common::SchemaError::FieldNotFound { field, valid_fields } = error else {
        return None;
    };
    let distances: BTreeMap<usize, &str> = valid_fields
        .iter()
        .rev()
        .map(|valid| (edit_distance(&field.name, &valid.name), valid.name.as_str()))
        .collect();
    match distances.first_key_value() {
        Some((distance, name)) if *distance <= field.name.len().div_ceil(2) => {
            Some(format!("did you mean `{name}`?"))
        }
        _ => Some("`SELECT * FROM events LIMIT 1` shows all columns".to_owned()),
    }
}

fn edit_distance(left: &str, right: &str) -> usize {
    datafusion::common::utils::datafusion_strsim::levenshtein(left, right)
}

/// The line in a message such as `... at Line: 3, Column: 5`.
fn line_in_message(message: &str) -> Option<u64> {
    let (_, after) = message.rsplit_once("Line: ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn line_containing(sql: &str, needle: &str) -> Option<u64> {
    let position = sql.lines().position(|line| line.contains(needle))?;
    Some(position as u64 + 1)
}
