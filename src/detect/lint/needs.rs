//! `needs:` against what the query reads: a policy that is written by it must be enough.

use std::collections::BTreeSet;

use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Complaint;
use super::reading::Reading;
use super::word::{STAGES, VERBS};
use crate::detect::condition::{Condition, Known, KnownRow, known};

const RULE: &str = "needs";

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let mut complaints = level(reading);
    complaints.extend(what_is_read(reading));
    complaints.extend(never_read(reading));
    complaints
}

/// The bodies that a level leaves out, and the level that has them.
fn left_out(level: &str) -> (KnownRow, &'static str) {
    let null = |column: &str| (column.to_owned(), Known::Null);
    match level {
        "RequestResponse" => (KnownRow::new(), "RequestResponse"),
        "Request" => (KnownRow::from([null("response_object")]), "RequestResponse"),
        _ => (KnownRow::from([null("request_object"), null("response_object")]), "Request"),
    }
}

fn level(reading: &Reading<'_>) -> Vec<Complaint> {
    let declared = reading.detection.needs.level.as_deref();
    if let Some(least) = reading.detection.needs.least.as_deref() {
        let (missing, _) = left_out(least);
        if !reading.scans.iter().all(|scan| scan.can_hold(&missing)) {
            let message = format!("needs least {least}, at which it can never fire");
            let line = reading.detection.line_of("needs");
            return vec![reading.error(RULE, line, message, "leave `least` out")];
        }
    }
    let (missing, least) = left_out(declared.unwrap_or("Metadata"));
    if missing.is_empty() || reading.scans.is_empty() {
        return Vec::new();
    }
    let said = declared.map_or("no level".to_owned(), |level| format!("level {level}"));
    let fires = |row: &KnownRow| reading.scans.iter().all(|scan| scan.can_hold(row));
    let line = reading.detection.line_of("needs");
    if !fires(&missing) && fires(&KnownRow::new()) {
        let at_request = known("response_object", Known::Null);
        let least = if fires(&at_request) { least } else { "RequestResponse" };
        let message = format!("needs {said}, at which it can never fire");
        let hint = format!("bodies are recorded from another level on: `level: {least}`");
        return vec![reading.error(RULE, line, message, &hint)];
    }
    let mut complaints = Vec::new();
    for counted in reading.aggregates() {
        let condition = Condition::always(&counted.input);
        let null = |expr: &Expr| is_null_at(&condition, expr, &missing);
        let filtered = counted.function.params.filter.as_ref().is_some_and(|filter| {
            !condition.and(filter).can_hold(&missing)
                && condition.and(filter).can_hold(&KnownRow::new())
        });
        if filtered || counted.function.params.args.iter().any(null) {
            let message =
                format!("needs {said}, at which `{}` counts nothing", counted.function.func.name());
            let hint = format!("bodies are recorded from another level on: `level: {least}`");
            complaints.push(reading.error(RULE, line, message, &hint));
        }
    }
    complaints.extend(shown(reading, &missing, &said));
    complaints
}

/// Columns of the answer that the level leaves empty.
fn shown(reading: &Reading<'_>, missing: &KnownRow, said: &str) -> Vec<Complaint> {
    let LogicalPlan::Projection(projection) = &reading.settled else { return Vec::new() };
    let condition = Condition::always(projection.input.schema());
    let empty = projection.expr.iter().filter(|expr| is_null_at(&condition, expr, missing));
    let complain = |expr: &Expr| {
        let name = expr.schema_name().to_string();
        let message = format!("needs {said}, at which `{name}` is always NULL");
        let hint = "name the level that records what it shows, or leave it out";
        reading.warning(RULE, reading.line_of_text(&name), message, hint)
    };
    empty.map(complain).collect()
}

fn is_null_at(condition: &Condition, expr: &Expr, missing: &KnownRow) -> bool {
    let reads = expr.column_refs().into_iter().any(|column| missing.contains_key(&column.name));
    let folded = condition.fold(expr, missing).unalias();
    reads && matches!(folded, Expr::Literal(value, _) if value.is_null())
}

/// Verbs, resources and stages that the query reads and `needs:` does not name.
fn what_is_read(reading: &Reading<'_>) -> Vec<Complaint> {
    let needs = &reading.detection.needs;
    let nothing = needs.level.is_none()
        && needs.resources.is_empty()
        && needs.verbs.is_empty()
        && needs.stages.is_empty();
    if nothing {
        let message = "no `needs`".to_owned();
        let hint = "name the level, resources, verbs and stages that an audit policy must record";
        return vec![reading.warning(RULE, None, message, hint)];
    }
    let mut missing: Vec<(&str, String)> = Vec::new();
    let lacks = |declared: &[String], word: &str| !declared.iter().any(|d| d == word);
    for verb in closed(reading, "verb") {
        if VERBS.contains(&verb.as_str()) && lacks(&needs.verbs, &verb) {
            missing.push(("verbs", verb));
        }
    }
    for stage in STAGES.into_iter().filter(|stage| reads_named(reading, "stage", stage)) {
        // A condition that leaves a stage out names it as well.
        let closed = reading.scans.iter().any(|scan| scan.is_closed("stage"));
        if closed && lacks(&needs.stages, stage) {
            missing.push(("stages", stage.to_owned()));
        }
    }
    for resource in resources(reading) {
        if lacks(&needs.resources, &resource) {
            missing.push(("resources", resource));
        }
    }
    let line = reading.detection.line_of("needs");
    let complain = |(key, word): (&str, String)| {
        let message = format!("needs: {key} do not name `{word}`, which is read");
        reading.warning(RULE, line, message, &format!("add `{word}` to `{key}`"))
    };
    missing.into_iter().map(complain).collect()
}

/// The named values of a column that are read, when no others are.
fn closed(reading: &Reading<'_>, column: &str) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    for scan in reading.scans.iter().filter(|scan| scan.is_closed(column)) {
        let names = scan.named(column).into_iter();
        read.extend(names.filter(|name| scan.can_hold(&known(column, Known::text(name)))));
    }
    read
}

fn reads_named(reading: &Reading<'_>, column: &str, word: &str) -> bool {
    reading.scans.iter().any(|scan| {
        scan.named(column).contains(word) && scan.can_hold(&known(column, Known::text(word)))
    })
}

/// What is read, as an audit policy names it: `pods`, `pods/exec`. Of each subresource one
/// resource is enough: not every workload has every subresource.
fn resources(reading: &Reading<'_>) -> Vec<String> {
    let declared = &reading.detection.needs.resources;
    let mut read = Vec::new();
    for scan in reading.scans.iter().filter(|scan| scan.is_closed("resource")) {
        let names: BTreeSet<String> = scan.named("resource");
        let both = |name: &str, subresource: Known| {
            let mut row = known("resource", Known::text(name));
            row.insert("subresource".to_owned(), subresource);
            scan.can_hold(&row)
        };
        read.extend(names.iter().filter(|name| both(name, Known::Null)).cloned());
        for subresource in scan.named("subresource") {
            let of = names.iter().filter(|name| both(name, Known::text(&subresource)));
            let of: Vec<String> = of.map(|name| format!("{name}/{subresource}")).collect();
            if !of.iter().any(|name| declared.contains(name)) {
                read.extend(of.into_iter().next());
            }
        }
    }
    read
}

/// What `needs:` names and the query never reads.
fn never_read(reading: &Reading<'_>) -> Vec<Complaint> {
    if reading.scans.is_empty() || !reading.can_read(&KnownRow::new()) {
        return Vec::new();
    }
    let needs = &reading.detection.needs;
    let mut idle: Vec<(&str, &str)> = Vec::new();
    for (column, key, words) in
        [("verb", "verbs", &needs.verbs), ("stage", "stages", &needs.stages)]
    {
        let read = |word: &&String| !reading.can_read(&known(column, Known::text(word)));
        idle.extend(words.iter().filter(read).map(|word| (key, word.as_str())));
    }
    let never = needs.resources.iter().filter(|name| {
        let (resource, subresource) = name.split_once('/').unwrap_or((name, ""));
        let mut row = known("resource", Known::text(resource));
        if !subresource.is_empty() {
            row.insert("subresource".to_owned(), Known::text(subresource));
        }
        !reading.can_read(&row)
    });
    idle.extend(never.map(|name| ("resources", name.as_str())));
    let line = reading.detection.line_of("needs");
    let complain = |(key, word): (&str, &str)| {
        let message = format!("needs: {key} name `{word}`, which is never read");
        reading.warning(RULE, line, message, "remove it, or mend the query")
    };
    idle.into_iter().map(complain).collect()
}
