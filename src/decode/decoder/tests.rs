//! Whole deliveries in, rows and quarantined pieces out.

mod clouds;
mod columns;
mod damage;
mod differential;
mod envelopes;
mod lossless;
mod properties;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::*;

const RECEIVED_AT: i64 = 1_700_000_000_000_000;

/// Lines of the audit log of a real API server; see the README beside it.
const RECORDED_LOG: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/realcluster/audit.jsonl");

/// One body its webhook sent in the same run.
const RECORDED_BODY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/realcluster/webhook-body-sample.json");

fn delivery(body: &[u8]) -> Delivery<'_> {
    Delivery { cluster: "east", source: "webhook", received_at: RECEIVED_AT, body }
}

fn decode(body: &[u8]) -> (RecordBatch, Vec<Quarantined>) {
    let mut rows = Rows::new();
    let mut quarantined = Vec::new();
    let count = Decoder::new().decode(&delivery(body), &mut rows, &mut quarantined);
    assert_eq!(count, rows.len());
    for piece in &quarantined {
        let end = piece.offset + piece.bytes.len();
        assert_eq!(body.get(piece.offset..end), Some(&piece.bytes[..]), "not as received");
    }
    (rows.finish(), quarantined)
}

/// A column as texts, whatever its form.
fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let column = cast(column, &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

/// Decodes a body and compares the auditIDs of its rows, and reason and bytes of its pieces.
fn check(body: impl AsRef<[u8]>, audit_ids: &[&str], pieces: &[(Reason, &str)]) {
    let body = body.as_ref();
    let (batch, quarantined) = decode(body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(300)]);
    let found: Vec<_> = texts(&batch, "audit_id").into_iter().flatten().collect();
    assert_eq!(found, audit_ids, "rows of {shown}");
    let found: Vec<_> = quarantined
        .iter()
        .map(|q| (q.reason, String::from_utf8_lossy(&q.bytes).into_owned()))
        .collect();
    let expected: Vec<_> = pieces.iter().map(|(r, bytes)| (*r, (*bytes).to_owned())).collect();
    assert_eq!(found, expected, "pieces of {shown}");
}

fn event(audit_id: &str) -> String {
    format!(r#"{{"level":"Metadata","auditID":"{audit_id}","verb":"get"}}"#)
}

fn list(items: &[String]) -> String {
    let items = items.join(",");
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}"#
    )
}
