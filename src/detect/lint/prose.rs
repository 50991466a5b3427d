//! What people read of a finding at three in the morning: who did what, what else looks like it,
//! what to do first.

use std::collections::BTreeSet;

use datafusion::logical_expr::LogicalPlan;

use super::reading::{Reading, for_each_node};
use super::{Complaint, Level};
use crate::detect::detection::{Detection, Severity};

/// Columns that say who it was.
const WHO: [&str; 11] = [
    "user_name",
    "user_uid",
    "user_groups",
    "impersonated_user",
    "impersonated_groups",
    "credential_id",
    "source_ip",
    "source_ips",
    "user_agent",
    "pod_name",
    "node_name",
];

/// Judges what needs no plan.
pub(super) fn judge(detection: &Detection) -> Vec<Complaint> {
    if detection.severity < Severity::Medium {
        return Vec::new();
    }
    let texts = [
        ("false_positives", &detection.false_positives, "say what else looks like this"),
        ("respond", &detection.respond, "say what to do first"),
    ];
    let missing = texts.into_iter().filter(|(_, text, _)| text.trim().is_empty());
    let complain = |(key, _, hint): (&str, &String, &str)| {
        let message = format!("no `{key}`, and severity {}", detection.severity);
        let line = detection.line_of("severity");
        Complaint::of(detection, ("prose", Level::Warning), line, message, hint)
    };
    missing.map(complain).collect()
}

/// Judges `describe` by the columns that its placeholders are made of.
pub(super) fn judge_sentence(reading: &Reading<'_>) -> Vec<Complaint> {
    let who = who(&reading.settled);
    let shown: Vec<&str> = reading.detection.placeholders().collect();
    let line = reading.detection.line_of("describe");
    let names_who = shown.iter().any(|name| who.contains(*name));
    let mut complaints = Vec::new();
    if !who.is_empty() && !names_who {
        let message = "describe does not say who it was".to_owned();
        let names: Vec<String> = who.iter().map(|name| format!("{{{{{name}}}}}")).collect();
        let hint = format!("name one of {}", names.join(", "));
        complaints.push(reading.warning("describe", line, message, &hint));
    }
    if shown.iter().all(|name| who.contains(*name)) {
        let message = "describe does not say what was done to what".to_owned();
        let hint = "name what differs from finding to finding, as in {{namespace}}/{{name}}";
        complaints.push(reading.warning("describe", line, message, hint));
    }
    complaints
}

/// Columns of the answer that are made of [`WHO`], through all that lies between.
fn who(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = WHO.iter().map(|name| (*name).to_owned()).collect();
    let mut nodes = Vec::new();
    for_each_node(plan, |node| {
        let mut made = Vec::new();
        match node {
            LogicalPlan::Projection(projection) => made.extend(projection.expr.iter().cloned()),
            LogicalPlan::Aggregate(aggregate) => made.extend(aggregate.aggr_expr.iter().cloned()),
            _ => {}
        }
        nodes.push(made);
    });
    // From the bottom up.
    for expr in nodes.iter().rev().flatten() {
        if expr.column_refs().into_iter().any(|column| names.contains(&column.name)) {
            names.insert(expr.schema_name().to_string());
        }
    }
    let columns = plan.schema().fields().iter().map(|field| field.name().clone());
    columns.filter(|name| names.contains(name)).collect()
}
