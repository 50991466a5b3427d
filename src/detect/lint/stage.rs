//! Stages: a request is told of up to three times, and what is known of it grows.
//!
//! | stage | when | not known yet |
//! |---|---|---|
//! | `RequestReceived` | before impersonation, authorization | decision, whom as, code, bodies |
//! | `ResponseStarted` | long-running requests only, at their headers | |
//! | `ResponseComplete` | the handler returned | |
//!
//! From kubernetes/apiserver, `pkg/endpoints/filters/audit.go` and `pkg/audit/request.go`.

use std::collections::BTreeSet;

use datafusion::logical_expr::LogicalPlan;

use super::reading::{Counted, Reading, for_each_node};
use super::word::VERBS;
use super::{Complaint, Level};
use crate::detect::condition::{Condition, Known, KnownRow, known};

/// What the API server has not found out when it tells of `RequestReceived`.
const NOT_RECEIVED: [&str; 9] = [
    "response_code",
    "response_reason",
    "response_message",
    "decision",
    "decision_reason",
    "impersonated_user",
    "impersonated_groups",
    "request_object",
    "response_object",
];

/// Requests that are told of when they start and when they end.
struct Long {
    verb: &'static str,
    subresource: Option<&'static str>,
    resource: Option<&'static str>,
    /// Of one that came about, and of one that did not.
    codes: [i64; 2],
}

const fn sub(resource: &'static str, subresource: &'static str, done: i64) -> Long {
    let (subresource, resource) = (Some(subresource), Some(resource));
    Long { verb: "get", subresource, resource, codes: [done, 403] }
}

const LONG: [Long; 6] = [
    Long { verb: "watch", subresource: None, resource: None, codes: [200, 403] },
    sub("pods", "exec", 101),
    sub("pods", "attach", 101),
    sub("pods", "portforward", 101),
    sub("services", "proxy", 200),
    sub("pods", "log", 200),
];

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    received_without_response(reading).into_iter().chain(counts_twice(reading)).collect()
}

/// `stage = 'RequestReceived'` beside a condition on what is not known then.
fn received_without_response(reading: &Reading<'_>) -> Option<Complaint> {
    let stage = known("stage", Known::text("RequestReceived"));
    let scan = reading.scans.iter().find(|scan| {
        scan.named("stage").contains("RequestReceived")
            && scan.can_hold(&stage)
            && !scan.can_hold(&received())
    })?;
    let column = NOT_RECEIVED.into_iter().find(|column| {
        let mut row = stage.clone();
        row.insert((*column).to_owned(), Known::Null);
        scan.mentions(column) && !scan.can_hold(&row)
    });
    let column = column.unwrap_or("response_code");
    let message = format!("`{column}` is not known yet at stage RequestReceived");
    let hint = "look at ResponseComplete, or at ResponseStarted for requests that run long";
    Some(reading.error("stage", reading.line_of_text("RequestReceived"), message, hint))
}

/// Requests of which more than one event counts.
fn counts_twice(reading: &Reading<'_>) -> Option<Complaint> {
    // Joins and rows made distinct may count as they like.
    let [scan] = reading.scans.as_slice() else { return None };
    if is_beyond_counting(reading) {
        return None;
    }
    let counted = reading.aggregates();
    if reading.detection.window.is_none() {
        let twice = twice(scan);
        let message = format!("a request is found more than once: {}", named(&twice)?);
        return Some(reading.warning("counts-twice", None, message, HINT));
    }
    let adds = |counted: &&Counted| {
        !counted.function.params.distinct
            && matches!(counted.function.func.name(), "count" | "sum" | "avg")
    };
    let in_having = compared_columns(reading);
    let mut worst: Option<Complaint> = None;
    for counted in counted.iter().filter(adds) {
        let condition = match &counted.function.params.filter {
            Some(filter) => scan.and(filter),
            None => scan.clone(),
        };
        let Some(twice) = named(&twice(&condition)) else { continue };
        let what = counted.function.func.name();
        let message = format!("`{what}` counts a request more than once: {twice}");
        let is_compared = in_having.contains(&counted.name);
        let level = if is_compared { Level::Error } else { Level::Warning };
        if worst.as_ref().is_none_or(|worst| worst.level < level) {
            let line = reading.line_of_text(&format!("{what}("));
            let rule = ("counts-twice", level);
            worst = Some(Complaint::of(reading.detection, rule, line, message, HINT));
        }
    }
    worst
}

const HINT: &str = "add `stage = 'ResponseComplete'`; for watch, exec, attach, portforward, proxy \
     and log `stage = 'ResponseStarted'`; or count DISTINCT audit_id";

/// The columns that a filter above an aggregate looks at.
fn compared_columns(reading: &Reading<'_>) -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    for_each_node(&reading.settled, |node| {
        if let LogicalPlan::Filter(filter) = node {
            columns.extend(filter.predicate.column_refs().into_iter().map(|c| c.name.clone()));
        }
    });
    columns
}

/// Rows are made distinct, or grouped by request, before they are counted.
fn is_beyond_counting(reading: &Reading<'_>) -> bool {
    let (mut aggregates, mut distinct) = (0_usize, false);
    for_each_node(&reading.settled, |node| match node {
        LogicalPlan::Distinct(_) | LogicalPlan::Window(_) => distinct = true,
        LogicalPlan::Aggregate(aggregate) => {
            aggregates += 1;
            let keys = aggregate.group_expr.iter().flat_map(|expr| expr.column_refs());
            distinct |= keys.into_iter().any(|key| key.name == "audit_id" || key.name == "stage");
        }
        _ => {}
    });
    distinct || aggregates > 1
}

/// The requests of which this lets several events pass, with their stages.
fn twice(condition: &Condition) -> Vec<(String, Vec<&'static str>)> {
    let mut found = Vec::new();
    for Long { verb, subresource, resource, codes } in LONG {
        let worst = codes.into_iter().map(|code| {
            let mut row = request(verb, subresource);
            if let Some(resource) = resource {
                row.insert("resource".to_owned(), Known::text(resource));
            }
            stages(condition, &row, Some(code))
        });
        let worst = worst.max_by_key(Vec::len).unwrap_or_default();
        if worst.len() > 1 {
            found.push((subresource.unwrap_or(verb).to_owned(), worst));
        }
    }
    let long = |name: &String| LONG.iter().any(|kind| kind.subresource == Some(name.as_str()));
    let mut subresources: Vec<Option<String>> = vec![None];
    subresources
        .extend(condition.named("subresource").into_iter().filter(|name| !long(name)).map(Some));
    for verb in VERBS.into_iter().filter(|verb| *verb != "watch") {
        for subresource in &subresources {
            let row = request(verb, subresource.as_deref());
            let stages = stages(condition, &row, None);
            if stages.len() > 1 {
                found.push((verb.to_owned(), stages));
                break;
            }
        }
    }
    found
}

/// The stages of a request that pass; of an ordinary one when no code is named.
fn stages(condition: &Condition, request: &KnownRow, code: Option<i64>) -> Vec<&'static str> {
    let mut passing = Vec::new();
    let mut first = received();
    first.extend(request.clone());
    if condition.can_hold(&first) {
        passing.push("RequestReceived");
    }
    let answered: &[&'static str] = match code {
        Some(_) => &["ResponseStarted", "ResponseComplete"],
        None => &["ResponseComplete"],
    };
    for stage in answered {
        let mut row = request.clone();
        row.insert("stage".to_owned(), Known::text(stage));
        let code = code.map_or(Known::Present, Known::Integer);
        row.insert("response_code".to_owned(), code);
        if condition.can_hold(&row) {
            passing.push(stage);
        }
    }
    passing
}

fn received() -> KnownRow {
    let unknown = NOT_RECEIVED.into_iter().map(|column| (column.to_owned(), Known::Null));
    let mut row: KnownRow = unknown.collect();
    row.insert("stage".to_owned(), Known::text("RequestReceived"));
    row
}

fn request(verb: &str, subresource: Option<&str>) -> KnownRow {
    let mut row = known("verb", Known::text(verb));
    row.insert("subresource".to_owned(), subresource.map_or(Known::Null, Known::text));
    // Who fails authentication has no name, and one event only.
    row.insert("user_name".to_owned(), Known::Present);
    row
}

/// `watch, exec at ResponseStarted and ResponseComplete; get at ...`.
fn named(twice: &[(String, Vec<&'static str>)]) -> Option<String> {
    let mut groups: Vec<(&[&str], Vec<&str>)> = Vec::new();
    for (request, stages) in twice {
        match groups.iter_mut().find(|(known, _)| *known == stages.as_slice()) {
            Some((_, requests)) => requests.push(request),
            None => groups.push((stages, vec![request])),
        }
    }
    let told = groups
        .iter()
        .map(|(stages, requests)| format!("{} at {}", requests.join(", "), stages.join(" and ")));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}
