//! Verbs that come in pairs: whoever looks for one of them misses who uses the other.

use super::Complaint;
use super::reading::Reading;
use crate::detect::condition::{Condition, Known, KnownRow};

const RULE: &str = "verb";

/// Subresources that a client reaches by a WebSocket as well as by a POST.
const STREAMS: [&str; 3] = ["exec", "attach", "portforward"];

pub(super) fn judge(reading: &Reading<'_>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for scan in &reading.scans {
        complaints.extend(stream(reading, scan));
        complaints.extend(delete_alone(reading, scan));
        complaints.extend(half_of_writing(reading, scan, "update", "patch"));
        complaints.extend(half_of_writing(reading, scan, "patch", "update"));
    }
    complaints
}

fn stream(reading: &Reading<'_>, scan: &Condition) -> Option<Complaint> {
    let named = scan.named("subresource");
    let by = |subresource: &str, verb: &str| {
        let row = [("resource", "pods"), ("subresource", subresource), ("verb", verb)];
        scan.can_hold(&row.map(|(name, text)| (name.to_owned(), Known::text(text))).into())
    };
    let streams = STREAMS.into_iter().filter(|stream| named.contains(*stream));
    let half =
        streams.into_iter().find_map(|stream| match (by(stream, "create"), by(stream, "get")) {
            (true, false) => Some((stream, "create", "get")),
            (false, true) => Some((stream, "get", "create")),
            _ => None,
        });
    let (stream, has, misses) = half?;
    let message = format!("{stream} is looked for as `{has}` only");
    let hint = format!(
        "clients send `{misses}` too (create: SPDY, get: WebSocket): leave the verb out, the \
         subresource tells"
    );
    let line = reading.line_of_text(&format!("'{has}'"));
    Some(reading.error(RULE, line, message, &hint))
}

fn delete_alone(reading: &Reading<'_>, scan: &Condition) -> Option<Complaint> {
    if !scan.named("verb").contains("delete") {
        return None;
    }
    let row = |verb: &str, name: Known| {
        KnownRow::from([("verb".to_owned(), Known::text(verb)), ("name".to_owned(), name)])
    };
    // A condition on the name is of one object: a collection has none.
    let misses = scan.can_hold(&row("delete", Known::Null))
        && !scan.can_hold(&row("deletecollection", Known::Null));
    // Namespaces are deleted one by one only.
    let resources = scan.named("resource");
    let only_namespaces = scan.is_closed("resource")
        && resources.iter().all(|name| name == "namespaces" || !can_be(scan, "resource", name));
    let hint = "add `deletecollection`, by which many are deleted at once";
    (misses && !only_namespaces).then(|| {
        let message = "`delete` is looked for, `deletecollection` is not".to_owned();
        reading.warning(RULE, reading.line_of_text("'delete'"), message, hint)
    })
}

fn half_of_writing(
    reading: &Reading<'_>,
    scan: &Condition,
    has: &str,
    misses: &str,
) -> Option<Complaint> {
    let half = scan.named("verb").contains(has)
        && can_be(scan, "verb", has)
        && !can_be(scan, "verb", misses);
    half.then(|| {
        let message = format!("`{has}` is looked for, `{misses}` is not");
        let hint = "whoever may do the one can mostly do the other: look for both";
        reading.warning(RULE, reading.line_of_text(&format!("'{has}'")), message, hint)
    })
}

fn can_be(scan: &Condition, column: &str, text: &str) -> bool {
    scan.can_hold(&KnownRow::from([(column.to_owned(), Known::text(text))]))
}
