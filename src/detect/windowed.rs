//! Windowed queries taken apart: which rows of `events` they can use, what their keys are, and
//! which events stand behind a row of their result.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::optimizer::OptimizerRule as _;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::prelude::SessionContext;

use super::asked::Plans;
use super::chain::Feed;
use super::compiled::{Compiled, Slot};
use super::detection::{Detection, Kind, LoadError};
use super::execution::Execution;
use super::incremental::plan::Plan;
use super::incremental::windowed::Windowed;
use super::intake::Intake;
use super::mistake::located;
use super::monotone::is_monotone;
use super::plan::{
    EVENT_COLUMNS, Planned, bind, input_column, is_filter_and_projection, plan_over, table_of,
};
use super::requery::Requery;

/// Plans a query over windows.
///
/// # Errors
/// As [`super::plan::plan`].
pub(crate) async fn windowed(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Planned, LoadError> {
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
    if detection.kind == Kind::OverFindings {
        let chain = chain(detection, context, logical, slot).await;
        return chain.map_err(|error| located(detection, &error));
    }
    let incremental = incremental(detection, context, logical);
    match incremental.map_err(|error| located(detection, &error))? {
        Some(planned) => Ok(planned),
        None => requery(detection, context, logical, slot)
            .await
            .map_err(|error| located(detection, &error)),
    }
}

/// Groups whose partial aggregates can be kept; `None` for what only a run of the query can tell.
fn incremental(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
) -> Result<Option<Planned>> {
    let Some(written) = grouped(logical) else { return Ok(None) };
    let monotone = written.having.is_none_or(|having| is_monotone(having, written.aggregate));
    let state = context.state();
    let analyzed =
        state.analyzer().execute_and_check(logical.clone(), state.config_options(), |_, _| {})?;
    let Some(grouped) = grouped(&analyzed) else { return Ok(None) };
    let plan = Plan::of(context, &grouped, monotone)?;
    Ok(plan.map(|(plan, intake)| {
        let execution = Execution::Windowed(Windowed::new(Arc::clone(detection), plan));
        Planned { intake, execution }
    }))
}

/// A query over findings.
async fn chain(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Planned> {
    let (parts, reread) = run_again(detection, context, logical, slot).await?;
    // Findings must not wait until windows close: what they said too early is taken back.
    let parts = Parts { monotone: true, ..parts };
    let requery = parts.compile(detection, &reread.context, &reread.buffer).await?;
    let feed = Feed::new(&reread.context, reread.intake)?;
    let execution = Execution::Chain(requery.reading(feed));
    Ok(Planned { intake: Intake::nothing(context)?, execution })
}

async fn requery(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<Planned> {
    let (parts, reread) = run_again(detection, context, logical, slot).await?;
    let requery = parts.compile(detection, &reread.context, &reread.buffer).await?;
    Ok(Planned { intake: reread.intake, execution: Execution::Requery(requery) })
}

/// The query over the rows and columns that it can use.
async fn run_again(
    detection: &Arc<Detection>,
    context: &SessionContext,
    logical: &LogicalPlan,
    slot: &Arc<Slot>,
) -> Result<(Parts, Reread)> {
    let optimized = with_filters_at_scans(&context.state()).optimize(logical)?;
    // The text may name columns, too, on which nothing depends: then they are there, as NULL.
    let reread = match reread(detection, context, &optimized, slot, Others::Left).await {
        Ok(reread) => reread,
        Err(_) => reread(detection, context, &optimized, slot, Others::Null).await?,
    };
    let logical = bind(detection, reread.logical.clone())?;
    let parts = match grouped(&logical) {
        Some(grouped) => grouped_parts(&grouped)?,
        None => odd_parts(detection, &logical, &reread.buffer)?,
    };
    Ok((parts, reread))
}

/// Plans as the context does, except that nothing comes between a scan and what is filtered of it.
fn with_filters_at_scans(state: &SessionState) -> SessionState {
    let mut rules = state.optimizers().to_vec();
    // Makes a projection of what several conditions have in common.
    rules.retain(|rule| rule.name() != CommonSubexprEliminate::new().name());
    SessionStateBuilder::new_from_existing(state.clone()).with_optimizer_rules(rules).build()
}

/// A query once more, over a table of just the columns that its buffer holds.
struct Reread {
    intake: Intake,
    buffer: Arc<Slot>,
    context: SessionContext,
    logical: LogicalPlan,
}

async fn reread(
    detection: &Detection,
    context: &SessionContext,
    optimized: &LogicalPlan,
    slot: &Arc<Slot>,
    others: Others,
) -> Result<Reread> {
    let intake = intake(detection, optimized, slot, others)?;
    let intake = Intake::over(context, &table_of(detection).1, &intake)?.ok_or_else(|| {
        DataFusionError::Internal("an intake is filters and projections".to_owned())
    })?;
    let buffer = Slot::new(intake.outputs.schema());
    let (context, logical) = plan_over(detection, &buffer).await?;
    Ok(Reread { intake, buffer, context, logical })
}

/// The rows and columns of its table that the query can use: its scans' filters, joined by OR.
fn intake(
    detection: &Detection,
    optimized: &LogicalPlan,
    slot: &Arc<Slot>,
    others: Others,
) -> Result<LogicalPlan> {
    let mut needed: BTreeSet<String> =
        EVENT_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    let (name, schema) = table_of(detection);
    needed.extend(detection.key.iter().filter(|key| schema.index_of(key).is_ok()).cloned());
    // A scan without a filter above it needs every row.
    let mut scans = 0_usize;
    let mut filters = Vec::new();
    optimized.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                scans += 1;
                needed.extend(scan.projected_schema.fields().iter().map(|f| f.name().clone()));
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
    let mut builder = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?;
    if filters.len() == scans
        && let Some(filter) = filters.into_iter().reduce(Expr::or)
    {
        builder = builder.filter(filter)?;
    }
    let column = |field: &FieldRef| {
        if needed.contains(field.name()) {
            return Ok(Some(Expr::Column(Column::new(Some(name), field.name()))));
        }
        match others {
            Others::Left => Ok(None),
            Others::Null => {
                let null = ScalarValue::try_from(field.data_type())?;
                Ok(Some(Expr::Literal(null, None).alias(field.name())))
            }
        }
    };
    let columns = schema.fields().iter().filter_map(|field| column(field).transpose());
    builder.project(columns.collect::<Result<Vec<_>>>()?)?.build()
}

/// What becomes of columns that a query does not depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Left,
    Null,
}

/// A query of the plain shape: SELECT ... FROM (anything) GROUP BY ... [HAVING ...].
pub(crate) struct Grouped<'a> {
    pub(crate) projection: &'a Projection,
    pub(crate) having: Option<&'a Expr>,
    pub(crate) aggregate: &'a Aggregate,
}

/// A query as one of that shape, if it is.
pub(crate) fn grouped(logical: &LogicalPlan) -> Option<Grouped<'_>> {
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

impl Parts {
    async fn compile(
        self,
        detection: &Arc<Detection>,
        context: &SessionContext,
        slot: &Arc<Slot>,
    ) -> Result<Requery> {
        let plans = Plans {
            query: Compiled::new(context, &self.query, slot).await?,
            evidence: Compiled::new(context, &self.evidence, slot).await?,
            key: self.key.into(),
            evidence_key: self.evidence_key,
            monotone: self.monotone,
        };
        Ok(Requery::new(Arc::clone(detection), plans))
    }
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
pub(crate) fn key_name(projection: &Projection, group: &Expr, column: &Column) -> String {
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
    let (table_name, _) = table_of(detection);
    let names = detection.key_names();
    let schema = logical.schema();
    let mut outputs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    for (position, name) in names.iter().enumerate() {
        outputs.push(input_column(schema, name)?.alias(format!("__key_{position}")));
    }
    let table: Arc<dyn TableProvider> = buffer.table()?;
    let columns: Arc<Schema> = table.schema();
    let rows = LogicalPlanBuilder::scan(table_name, provider_as_source(table), None)?;
    let mut inputs = Vec::new();
    let mut evidence_key = Vec::new();
    for (position, name) in names.iter().enumerate() {
        if columns.index_of(name).is_ok() {
            let column = Expr::Column(Column::new(Some(table_name), name));
            inputs.push(column.alias(format!("__key_{position}")));
            evidence_key.push(position);
        }
    }
    for name in EVENT_COLUMNS {
        inputs.push(Expr::Column(Column::new(Some(table_name), name)).alias(format!("__{name}")));
    }
    Ok(Parts {
        query: LogicalPlanBuilder::from(logical.clone()).project(outputs)?.build()?,
        evidence: rows.project(inputs)?.build()?,
        key: names,
        evidence_key,
        monotone: false,
    })
}
