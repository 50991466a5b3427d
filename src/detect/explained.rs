//! How a detection runs, for `auditmill detections explain`.

use std::collections::{BTreeSet, HashMap};

use futures::FutureExt as _;

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, Result, exec_datafusion_err};
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;

use super::catalog::Catalog;
use super::compiled::Slot;
use super::detection::{Detection, Kind, LoadError};
use super::engine::{Engine, EngineSettings};
use super::execution::Execution;
use super::explain::sql;
use super::index::clause::{Clause, clauses, indexed};
use super::mistake::located;
use super::plan::{bind, plan_over, table_of};
use super::running::Running;
use super::windowed::{Grouped, grouped};
use crate::event::schema::events_schema;

/// How a detection runs.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Facts as name and text, in the order in which they are shown; a name may come again.
    pub facts: Vec<(&'static str, String)>,
    /// The query as it is planned: a node a line, the last ones first.
    pub plan: String,
}

/// Says how a detection runs.
///
/// # Errors
/// When its query cannot be planned.
pub fn explained(detection: &Detection) -> Result<Explained, LoadError> {
    let catalog = Catalog::of(detection.clone());
    let engine = Engine::new(&catalog, EngineSettings::default());
    let engine = engine.map_err(|errors| {
        let first = errors.into_iter().next();
        first.unwrap_or_else(|| detection.error(None, "it cannot be planned".to_owned(), None))
    })?;
    let plan = plan(detection).map_err(|error| located(detection, &error))?;
    Ok(Explained { facts: engine.running().iter().flat_map(facts).collect(), plan })
}

fn facts(running: &Running) -> Vec<(&'static str, String)> {
    let detection = running.detection();
    let mut facts = vec![("runs as", running.execution.class().to_owned())];
    if detection.kind == Kind::OverFindings {
        facts.push(("takes", "findings of other detections, not events".to_owned()));
    } else {
        facts.extend(conditions(&running.conditions));
        facts.push(("reads", columns(running)));
    }
    facts.push(("fires", fires(&running.execution)));
    if let Execution::Windowed(of) = &running.execution {
        facts.push(("groups by", of.plan().names.join(", ")));
        facts.push(("must reach first", of.plan().thresholds.join(" AND ")));
        facts.extend(filters(running).into_iter().map(|(_, sql)| ("counts apart", sql)));
    }
    let having = having(detection).filter(|having| {
        facts.iter().all(|(name, text)| *name != "must reach first" || text != having)
    });
    facts.extend(having.map(|having| ("having", having)));
    facts
}

/// What the index makes of conditions: which are told by bits of a column's values, and which are
/// left to be worked out for the rows that bits let through.
fn conditions(conditions: &[Expr]) -> Vec<(&'static str, String)> {
    let schema = events_schema();
    let (mut bits, mut either, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for clause in conditions.iter().flat_map(|condition| clauses(condition, &indexed)) {
        match clause {
            Clause::Column(at, expr) => {
                bits.push(("by bits", format!("{}: {}", schema.field(at).name(), sql(&expr))));
            }
            Clause::Any(any) => {
                let any: Vec<String> = any.iter().map(|(_, expr)| sql(expr)).collect();
                either.push(("by bits, any of", any.join(" OR ")));
            }
            Clause::Rest(expr) => rest.push(("row by row", sql(&expr))),
        }
    }
    bits.sort();
    bits.into_iter().chain(either).chain(rest).collect()
}

fn columns(running: &Running) -> String {
    let conditions = running.conditions.iter().flat_map(Expr::column_refs);
    let mut columns: BTreeSet<&str> = conditions.map(|column| column.name.as_str()).collect();
    columns.extend(running.outputs().columns());
    columns.into_iter().collect::<Vec<_>>().join(", ")
}

/// When a finding comes.
fn fires(execution: &Execution) -> String {
    let monotone = match execution {
        Execution::PerEvent(_) => return "at once".to_owned(),
        Execution::FirstSeen(_) => return "at once, once enough of the past is known".to_owned(),
        Execution::Absent(_) => return "when a key was missed for long enough".to_owned(),
        Execution::Windowed(of) => of.plan().monotone,
        Execution::Requery(of) | Execution::Chain(of) => of.plans().monotone,
    };
    if monotone {
        "at once: further events of the window take nothing back".to_owned()
    } else {
        "when the watermark has passed the window's end: further events may take it back".to_owned()
    }
}

/// The FILTER conditions of what a grouped query adds up: the column of what it takes of events
/// that says whether one is true, and the condition as SQL. Each once.
pub(super) fn filters(running: &Running) -> Vec<(usize, String)> {
    let Execution::Windowed(of) = &running.execution else { return Vec::new() };
    let outputs = running.outputs();
    let mut filters: Vec<(usize, String)> = Vec::new();
    for at in of.plan().aggregates.iter().filter_map(|aggregate| aggregate.filter) {
        let schema = outputs.schema();
        let name = schema.fields().get(at).map(|field| field.name().as_str());
        let expr = name.and_then(|name| outputs.expression(name));
        let known = |sql: &String| filters.iter().any(|(_, known)| known == sql);
        filters.extend(expr.map(sql).filter(|sql| !known(sql)).map(|sql| (at, sql)));
    }
    filters
}

/// The whole HAVING of a query that groups plainly, as SQL with its parameters' values.
pub(super) fn having(detection: &Detection) -> Option<String> {
    let (_, logical) = planned(detection).ok()?;
    let Grouped { having, aggregate, .. } = grouped(&logical)?;
    let (columns, exprs) = (aggregate.schema.columns(), &aggregate.group_expr);
    let exprs = exprs.iter().chain(&aggregate.aggr_expr).cloned();
    let made: HashMap<Column, Expr> = columns.into_iter().zip(exprs).collect();
    let whole = having?.clone().transform_up(|expr| match &expr {
        Expr::Column(column) => Ok(match made.get(column) {
            Some(made) => Transformed::yes(made.clone().unalias_nested().data),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    });
    Some(sql(&unnormalize_col(whole.ok()?.data)))
}

fn plan(detection: &Detection) -> Result<String> {
    let (context, logical) = planned(detection)?;
    let optimized = context.state().optimize(&logical)?;
    Ok(optimized.display_indent().to_string())
}

/// The query with its parameters' values.
fn planned(detection: &Detection) -> Result<(SessionContext, LogicalPlan)> {
    let slot = Slot::new(table_of(detection).1);
    // The one table is there at once: nothing is waited for.
    let planned = plan_over(detection, &slot).now_or_never();
    let (context, logical) =
        planned.ok_or_else(|| exec_datafusion_err!("planning waits for a table"))??;
    Ok((context, bind(detection, logical)?))
}
