//! Conditions that never hold.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;

use super::Complaint;
use super::reading::{Reading, for_each_node};
use crate::detect::condition::{Condition, Contradiction};

const RULE: &str = "never-true";

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for_each_node(&reading.settled, |node| {
        let LogicalPlan::Filter(filter) = node else { return };
        let condition = Condition::new(filter.predicate.clone(), filter.input.schema());
        complaints.extend(judge_one(reading, &condition, "the condition"));
    });
    for counted in reading.aggregates() {
        let Some(filter) = counted.function.params.filter else { continue };
        let condition = Condition::new(*filter, &Arc::clone(&counted.input));
        let what = format!("the FILTER of `{}`", counted.function.func.name());
        complaints.extend(judge_one(reading, &condition, &what));
    }
    complaints
}

fn judge_one(reading: &Reading<'_>, condition: &Condition, what: &str) -> Vec<Complaint> {
    let told = |contradiction: &Contradiction| match &contradiction.column {
        Some(column) => (
            format!("{what} can never be true: no value of `{column}` fulfils it"),
            line(reading, contradiction),
        ),
        None => (format!("{what} can never be true"), line(reading, contradiction)),
    };
    if let Some(contradiction) = condition.contradiction() {
        let (message, line) = told(&contradiction);
        let hint = "nothing would ever be found: look at what AND joins, and at NULL";
        return vec![reading.error(RULE, line, message, hint)];
    }
    let dead = condition.dead_alternatives();
    let dead = dead.iter().map(|contradiction| {
        let (message, line) = told(contradiction);
        let message = message.replacen("can never", "has an alternative that can never", 1);
        reading.warning(RULE, line, message, "remove the alternative, or mend it")
    });
    dead.collect()
}

fn line(reading: &Reading<'_>, contradiction: &Contradiction) -> Option<u64> {
    let by_name = || reading.line_of_text(contradiction.column.as_deref()?);
    contradiction.line.or_else(by_name).or_else(|| reading.line_of_text("WHERE"))
}
