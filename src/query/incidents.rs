//! Incidents, which findings are in them, and what people did, as tables.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::tables::{external, json, text, texts, time, times};
use crate::event::time::parse_rfc3339;
use crate::findings::incident::record::Incident;
use crate::findings::store::Store;
use crate::findings::triage::Entry;
use crate::sql::snapshot::SnapshotTable;

/// Incidents in one batch.
const PART: usize = 4_096;

/// The tables of incidents and triage, by name, as they are when they are scanned.
pub(super) fn incident_tables(store: &Arc<Store>) -> Vec<(&'static str, SnapshotTable)> {
    let (incidents, findings, triage) = (Arc::clone(store), Arc::clone(store), Arc::clone(store));
    vec![
        (
            "incidents",
            SnapshotTable::new(incidents_schema(), move || {
                let mut batches = Vec::new();
                let mut failed = None;
                let scanned = incidents.scan_incidents(PART, |rows| match incidents_rows(rows) {
                    Ok(batch) => {
                        batches.push(batch);
                        ControlFlow::Continue(())
                    }
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                });
                scanned.map_err(external)?;
                failed.map_or(Ok(batches), |error| Err(error.into()))
            }),
        ),
        (
            "incident_findings",
            SnapshotTable::new(findings_schema(), move || {
                let rows = findings.incident_findings().map_err(external)?;
                let column = |at: usize| texts(rows.iter().map(move |row| row[at].as_str()));
                let columns: Vec<ArrayRef> = (0..3).map(column).collect();
                Ok(vec![RecordBatch::try_new(findings_schema(), columns)?])
            }),
        ),
        (
            "triage",
            SnapshotTable::new(triage_schema(), move || {
                Ok(vec![triage_rows(&triage.trail(None).map_err(external)?)?])
            }),
        ),
    ]
}

fn optional(name: &str) -> Field {
    text(name).with_nullable(true)
}

/// Columns of `incidents`: those of the wire form; lists are JSON text.
fn incidents_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("id"),
        text("title"),
        text("severity"),
        Field::new("score", DataType::UInt64, false),
        text("state"),
        optional("reason"),
        optional("assignee"),
        optional("merged_into"),
        text("cluster"),
        text("actors"),
        text("namespaces"),
        text("tactics"),
        text("controls"),
        text("detections"),
        Field::new("findings", DataType::UInt64, false),
        Field::new("events", DataType::UInt64, false),
        time("first_seen"),
        time("last_seen"),
        Field::new("pages", DataType::Boolean, false),
        Field::new("revision", DataType::UInt64, false),
    ]))
}

fn incidents_rows(incidents: &[Incident]) -> Result<RecordBatch, ArrowError> {
    let text = |value: fn(&Incident) -> String| -> ArrayRef {
        Arc::new(incidents.iter().map(|of| Some(value(of))).collect::<StringArray>())
    };
    let maybe = |value: fn(&Incident) -> Option<String>| -> ArrayRef {
        Arc::new(incidents.iter().map(value).collect::<StringArray>())
    };
    let number = |value: fn(&Incident) -> u64| -> ArrayRef {
        Arc::new(incidents.iter().map(|of| Some(value(of))).collect::<UInt64Array>())
    };
    let at = |value: fn(&Incident) -> &str| {
        times(incidents.iter().map(|of| parse_rfc3339(value(of)).unwrap_or_default()))
    };
    let pages: BooleanArray = incidents.iter().map(|of| Some(of.pages)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(|of| of.id.clone()),
        text(|of| of.title.clone()),
        text(|of| of.severity.to_string()),
        number(|of| of.score),
        text(|of| of.state.as_str().to_owned()),
        maybe(|of| of.reason.map(|reason| reason.to_string())),
        maybe(|of| of.assignee.clone()),
        maybe(|of| of.merged_into.clone()),
        text(|of| of.cluster.clone()),
        text(|of| json(&of.actors)),
        text(|of| json(&of.namespaces)),
        text(|of| json(&of.tactics)),
        text(|of| json(&of.controls)),
        text(|of| json(&of.detections)),
        number(|of| of.findings),
        number(|of| of.events),
        at(|of| &of.first_seen),
        at(|of| &of.last_seen),
        Arc::new(pages),
        number(|of| of.revision),
    ];
    RecordBatch::try_new(incidents_schema(), columns)
}

/// Columns of `incident_findings`: ids of an incident and of each of its findings, and whose they
/// are.
fn findings_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![text("incident"), text("finding"), text("cluster")]))
}

/// Columns of `triage`: who did what to which finding or incident.
fn triage_schema() -> SchemaRef {
    let names = ["kind", "id", "who", "action", "detail"];
    let mut fields = vec![time("time")];
    fields.extend(names.map(text));
    Arc::new(Schema::new(fields))
}

fn triage_rows(entries: &[Entry]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        times(entries.iter().map(|entry| entry.at)),
        texts(entries.iter().map(|entry| entry.kind.as_str())),
        texts(entries.iter().map(|entry| entry.id.as_str())),
        texts(entries.iter().map(|entry| entry.who.as_str())),
        texts(entries.iter().map(|entry| entry.action.as_str())),
        texts(entries.iter().map(|entry| entry.detail.as_str())),
    ];
    RecordBatch::try_new(triage_schema(), columns)
}
