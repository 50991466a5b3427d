//! A detection's plan, read for the rules: what is written, and which rows each scan can use.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, exec_datafusion_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use futures::FutureExt as _;

use super::super::compiled::Slot;
use super::super::condition::{Condition, KnownRow};
use super::super::detection::{Detection, LoadError};
use super::super::mistake::located;
use super::super::plan::{bind, plan_over, table_of};
use super::{Complaint, Level};

/// A detection and its plan.
pub(super) struct Reading<'a> {
    pub(super) detection: &'a Detection,
    /// As written, parameters put in; columns know their lines.
    pub(super) written: LogicalPlan,
    /// With types settled and conditions as far down as they go.
    pub(super) settled: LogicalPlan,
    /// What each scan of `events` lets pass.
    pub(super) scans: Vec<Condition>,
}

/// An aggregate of the plan.
pub(super) struct Counted {
    pub(super) function: AggregateFunction,
    /// Its name as a column of what is above.
    pub(super) name: String,
    /// The columns below it.
    pub(super) input: DFSchemaRef,
}

impl<'a> Reading<'a> {
    pub(super) fn of(detection: &'a Detection) -> Result<Self, LoadError> {
        Self::read(detection).map_err(|error| located(detection, &error))
    }

    fn read(detection: &'a Detection) -> Result<Self> {
        let slot = Slot::new(table_of(detection).1);
        // The one table is there at once: nothing is waited for.
        let planned = plan_over(detection, &slot).now_or_never();
        let (context, written) =
            planned.ok_or_else(|| exec_datafusion_err!("planning waits for a table"))??;
        let written = bind(detection, written)?;
        let state = context.state();
        let options = state.config_options();
        let settled = state.analyzer().execute_and_check(written.clone(), options, |_, _| {})?;
        let push_down = Optimizer::with_rules(vec![Arc::new(PushDownFilter::new())]);
        let settled = push_down.optimize(settled, &state, |_, _| {})?;
        let scans = scans(&settled)?;
        Ok(Self { detection, written, settled, scans })
    }

    /// The aggregates of the plan with settled types.
    pub(super) fn aggregates(&self) -> Vec<Counted> {
        let mut found = Vec::new();
        for_each_node(&self.settled, |node| {
            let LogicalPlan::Aggregate(aggregate) = node else { return };
            for expr in &aggregate.aggr_expr {
                let name = expr.schema_name().to_string();
                if let Expr::AggregateFunction(function) = expr.clone().unalias() {
                    let input = Arc::clone(aggregate.input.schema());
                    found.push(Counted { function, name, input });
                }
            }
        });
        found
    }

    /// Whether any scan lets a row pass of which this is known.
    pub(super) fn can_read(&self, row: &KnownRow) -> bool {
        self.scans.iter().any(|scan| scan.can_hold(row))
    }

    pub(super) fn error(
        &self,
        rule: &'static str,
        line: Option<u64>,
        message: String,
        hint: &str,
    ) -> Complaint {
        Complaint::of(self.detection, (rule, Level::Error), line, message, hint)
    }

    pub(super) fn warning(
        &self,
        rule: &'static str,
        line: Option<u64>,
        message: String,
        hint: &str,
    ) -> Complaint {
        Complaint::of(self.detection, (rule, Level::Warning), line, message, hint)
    }

    /// One-based line of the query on which this text stands; comments do not count.
    pub(super) fn line_of_text(&self, text: &str) -> Option<u64> {
        let sql = &self.detection.sql;
        let query = sql.find("*/").unwrap_or(0);
        let before = sql.get(..query).unwrap_or_default().matches('\n').count();
        let mut lines = sql.get(query..).unwrap_or_default().lines();
        let is_code = |line: &str| !line.trim_start().starts_with("--");
        let position = lines.position(|line| is_code(line) && line.contains(text))?;
        Some((before + position) as u64 + 1)
    }
}

/// Every node of a plan, subqueries too.
pub(super) fn for_each_node(plan: &LogicalPlan, mut see: impl FnMut(&LogicalPlan)) {
    // Nothing that is seen fails.
    let _ = plan.apply_with_subqueries(|node| {
        see(node);
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Every expression of a plan, as its nodes have them.
pub(super) fn for_each_expression(plan: &LogicalPlan, mut see: impl FnMut(&LogicalPlan, &Expr)) {
    for_each_node(plan, |node| {
        let _ = node.apply_expressions(|expr| {
            see(node, expr);
            Ok(TreeNodeRecursion::Continue)
        });
    });
}

fn scans(settled: &LogicalPlan) -> Result<Vec<Condition>> {
    let is_events = |plan: &LogicalPlan| match plan {
        LogicalPlan::TableScan(scan) => scan.table_name.table() == "events",
        _ => false,
    };
    let mut bare = Vec::new();
    let mut conditions = Vec::new();
    settled.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(filter) if is_events(&filter.input) => {
                let schema = filter.input.schema();
                conditions.push(Condition::new(filter.predicate.clone(), schema));
            }
            LogicalPlan::TableScan(scan) if is_events(node) => {
                bare.push(Condition::always(&scan.projected_schema));
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // A scan without a filter above it lets everything pass.
    bare.truncate(bare.len().saturating_sub(conditions.len()));
    conditions.extend(bare);
    Ok(conditions)
}
