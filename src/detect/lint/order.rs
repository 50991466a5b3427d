//! What depends on the order in which events come: they come in any order, and often twice.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};

use super::Complaint;
use super::reading::{Reading, for_each_node};

const RULE: &str = "order";

/// Aggregates that are told by the order of their rows unless one is said.
const ORDERED: [&str; 6] =
    ["first_value", "last_value", "any_value", "array_agg", "string_agg", "nth_value"];
/// Aggregates whose last digits are, whatever they add up.
const ROUNDED: [&str; 12] = [
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "var_sample",
    "covar_pop",
    "covar_samp",
    "corr",
    "approx_percentile_cont",
    "approx_median",
];
const FLOAT_HINT: &str = "add up whole numbers, or take min and max";

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for_each_node(&reading.written, |node| {
        for expr in &node_expressions(node) {
            match expr.clone().unalias() {
                Expr::AggregateFunction(function) => {
                    complaints.extend(aggregate(reading, node, &function));
                }
                Expr::WindowFunction(function) => complaints.extend(window(reading, &function)),
                _ => {}
            }
        }
        complaints.extend(limit(reading, node));
    });
    complaints
}

fn node_expressions(node: &LogicalPlan) -> Vec<Expr> {
    match node {
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.clone(),
        LogicalPlan::Window(window) => window.window_expr.clone(),
        _ => Vec::new(),
    }
}

fn aggregate(
    reading: &Reading<'_>,
    node: &LogicalPlan,
    function: &AggregateFunction,
) -> Option<Complaint> {
    let name = function.func.name();
    let line = reading.line_of_text(&format!("{name}("));
    if ORDERED.contains(&name) && function.params.order_by.is_empty() {
        let message = format!("`{name}` depends on the order in which events come");
        let hint = format!("say `{name}(... ORDER BY event_time, event_id)`, or take min or max");
        return Some(reading.error(RULE, line, message, &hint));
    }
    let message = format!("`{name}` over fractions depends on the order in which events come");
    if ROUNDED.contains(&name) {
        return Some(reading.error(RULE, line, message, FLOAT_HINT));
    }
    let is_float = |expr: &Expr| {
        let input = node.inputs().into_iter().next()?;
        let kind = expr.get_type(input.schema()).ok()?;
        Some(matches!(kind, DataType::Float16 | DataType::Float32 | DataType::Float64))
    };
    let adds = matches!(name, "sum" | "avg" | "mean");
    let is_float = function.params.args.first().and_then(is_float).unwrap_or(false);
    (adds && is_float).then(|| reading.error(RULE, line, message, FLOAT_HINT))
}

fn window(reading: &Reading<'_>, function: &WindowFunction) -> Option<Complaint> {
    let name = function.fun.name();
    let ordered = ORDERED.contains(&name)
        || matches!(name, "row_number" | "lag" | "lead" | "ntile" | "rank" | "dense_rank");
    (ordered && function.params.order_by.is_empty()).then(|| {
        let message = format!("`{name}` without ORDER BY depends on the order of events");
        let hint = "say `OVER (... ORDER BY event_time, event_id)`";
        reading.error(RULE, reading.line_of_text(&format!("{name}(")), message, hint)
    })
}

/// LIMIT takes the rows that come first; without an order those are any.
fn limit(reading: &Reading<'_>, node: &LogicalPlan) -> Option<Complaint> {
    let LogicalPlan::Limit(limit) = node else { return None };
    let mut below = limit.input.as_ref();
    while let LogicalPlan::Projection(projection) = below {
        below = &projection.input;
    }
    (!matches!(below, LogicalPlan::Sort(_))).then(|| {
        let message = "LIMIT without ORDER BY takes any rows".to_owned();
        let hint = "say ORDER BY with columns that tell all rows apart, or leave LIMIT out";
        reading.error(RULE, reading.line_of_text("LIMIT"), message, hint)
    })
}
