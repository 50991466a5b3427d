//! What is not kept as Arrow, as tables: findings and quarantine.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use serde::Serialize;

use crate::event::time::parse_rfc3339;
use crate::findings::quarantine::Piece;
use crate::findings::record::FindingRecord;

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
}

/// Columns of `findings`: those of the wire form; lists and maps are JSON text.
pub(crate) fn findings_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("id"),
        text("detection"),
        text("title"),
        text("severity"),
        text("status"),
        text("cluster"),
        text("key"),
        Field::new("count", DataType::UInt64, false),
        time("first_seen"),
        time("last_seen"),
        text("summary"),
        text("evidence"),
        text("attack"),
        text("controls"),
        text("row"),
        text("respond"),
        Field::new("incomplete", DataType::Boolean, false),
        Field::new("revision", DataType::UInt64, false),
    ]))
}

/// Findings as rows.
pub(crate) fn findings_rows(records: &[Arc<FindingRecord>]) -> Result<RecordBatch, ArrowError> {
    let text = |value: fn(&FindingRecord) -> String| -> ArrayRef {
        Arc::new(records.iter().map(|r| Some(value(r))).collect::<StringArray>())
    };
    let number = |value: fn(&FindingRecord) -> u64| -> ArrayRef {
        Arc::new(records.iter().map(|r| Some(value(r))).collect::<UInt64Array>())
    };
    let incomplete: BooleanArray = records.iter().map(|r| Some(r.incomplete)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(|r| r.id.clone()),
        text(|r| r.detection.clone()),
        text(|r| r.title.clone()),
        text(|r| r.severity.to_owned()),
        text(|r| r.status.to_owned()),
        text(|r| r.cluster.clone()),
        text(|r| json(&r.key)),
        number(|r| r.count),
        times(records.iter().map(|r| parse_rfc3339(&r.first_seen).unwrap_or_default())),
        times(records.iter().map(|r| parse_rfc3339(&r.last_seen).unwrap_or_default())),
        text(|r| r.summary.clone()),
        text(|r| json(&r.evidence)),
        text(|r| json(&r.attack)),
        text(|r| json(&r.controls)),
        text(|r| json(&r.row)),
        text(|r| r.respond.clone()),
        Arc::new(incomplete),
        number(|r| r.revision),
    ];
    RecordBatch::try_new(findings_schema(), columns)
}

/// Columns of `quarantine`.
pub(crate) fn quarantine_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("cluster"),
        text("source"),
        time("received_at"),
        text("reason"),
        text("detail"),
        Field::new("offset", DataType::UInt64, false),
        text("bytes"),
    ]))
}

/// Quarantined pieces as rows; bytes that are not UTF-8 show as U+FFFD.
pub(crate) fn quarantine_rows(pieces: &[Piece]) -> Result<RecordBatch, ArrowError> {
    let text = |value: fn(&Piece) -> String| -> ArrayRef {
        Arc::new(pieces.iter().map(|piece| Some(value(piece))).collect::<StringArray>())
    };
    let offsets: UInt64Array = pieces.iter().map(|piece| Some(piece.offset)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(|piece| piece.cluster.clone()),
        text(|piece| piece.source.clone()),
        times(pieces.iter().map(|piece| piece.received_at)),
        text(|piece| piece.reason.clone()),
        text(|piece| piece.detail.clone()),
        Arc::new(offsets),
        text(|piece| String::from_utf8_lossy(&piece.bytes).into_owned()),
    ];
    RecordBatch::try_new(quarantine_schema(), columns)
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
