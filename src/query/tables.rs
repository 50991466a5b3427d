//! What is not kept as Arrow, as tables: findings, ledger, clusters, dead letters, quarantine, the
//! catalogue.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use serde::Serialize;

use super::catalogue::{detections_table, exceptions_table};
use super::incidents::incident_tables;
use crate::decode::{Fidelity, fidelity};
use crate::detect::in_use::InUse;
use crate::event::time::parse_rfc3339;
use crate::findings::quarantine::{Piece, Quarantine};
use crate::findings::reading::LedgerRow;
use crate::findings::record::FindingRecord;
use crate::findings::sinks::{DeadLetter, SinkState};
use crate::findings::step::ClusterSeen;
use crate::findings::store::Store;
use crate::sql::snapshot::SnapshotTable;

/// The values of the column `source`.
const SOURCES: [&str; 6] = ["webhook", "file", "kafka", "eks", "gke", "aks"];
/// Findings in one batch.
const PART: usize = 4_096;

/// All that can be asked, by its name in SQL.
pub(crate) type Tables = Vec<(&'static str, Arc<dyn TableProvider>)>;

/// Events, what is stored beside them, and the catalogue; `clock` gives microseconds since 1970.
///
/// # Errors
/// Never in practice: when what is fixed cannot be laid out as rows.
pub(crate) fn tables(
    [events, minutes]: [Arc<dyn TableProvider>; 2],
    store: &Arc<Store>,
    quarantine: &Arc<Quarantine>,
    in_use: &Arc<InUse>,
    clock: fn() -> i64,
) -> Result<Tables, ArrowError> {
    let mut tables: Tables = vec![("events", events), ("events_per_minute", minutes)];
    for (name, table) in store_tables(store, quarantine) {
        tables.push((name, Arc::new(table)));
    }
    for (name, table) in incident_tables(store) {
        tables.push((name, Arc::new(table)));
    }
    tables.push(("detections", Arc::new(detections_table(in_use))));
    tables.push(("exceptions", Arc::new(exceptions_table(in_use, store, clock))));
    tables.push(("sources", Arc::new(sources_table()?)));
    Ok(tables)
}

/// What events of each value of the column `source` can show at all: NULL in another column of
/// theirs says nothing.
fn sources_table() -> Result<SnapshotTable, ArrowError> {
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    let fields =
        vec![text("source"), flag("groups"), flag("bodies"), flag("stages"), flag("query")];
    let schema = Arc::new(Schema::new(fields));
    let flags = |of: fn(Fidelity) -> bool| -> ArrayRef {
        let flags: BooleanArray = SOURCES.iter().map(|name| Some(of(fidelity(name)))).collect();
        Arc::new(flags)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(SOURCES.iter().map(|name| Some(*name)).collect::<StringArray>()),
        flags(|fidelity| fidelity.groups),
        flags(|fidelity| fidelity.bodies),
        flags(|fidelity| fidelity.stages),
        flags(|fidelity| fidelity.query),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema) as SchemaRef, columns)?;
    Ok(SnapshotTable::new(schema, move || Ok(vec![rows.clone()])))
}

/// The tables of the findings store and of the quarantine, by name: each gives what is there when
/// it is scanned. The memory for it is not in the query's limit.
fn store_tables(
    store: &Arc<Store>,
    quarantine: &Arc<Quarantine>,
) -> Vec<(&'static str, SnapshotTable)> {
    let (findings, ledger) = (Arc::clone(store), Arc::clone(store));
    let (clusters, letters) = (Arc::clone(store), Arc::clone(store));
    let (sinks, pieces) = (Arc::clone(store), Arc::clone(quarantine));
    let one = |batch: Result<RecordBatch, ArrowError>| Ok(vec![batch?]);
    vec![
        ("findings", SnapshotTable::new(findings_schema(), move || all_findings(&findings))),
        (
            "ledger",
            SnapshotTable::new(ledger_schema(), move || {
                one(ledger_rows(&ledger.ledger().map_err(external)?))
            }),
        ),
        (
            "clusters",
            SnapshotTable::new(clusters_schema(), move || {
                one(clusters_rows(&clusters.clusters().map_err(external)?))
            }),
        ),
        (
            "dead_letters",
            SnapshotTable::new(dead_letters_schema(), move || {
                one(dead_letters_rows(&letters.dead_letters().map_err(external)?))
            }),
        ),
        (
            "sinks",
            SnapshotTable::new(sinks_schema(), move || {
                one(sinks_rows(&sinks.sink_states().map_err(external)?))
            }),
        ),
        (
            "quarantine",
            SnapshotTable::new(quarantine_schema(), move || {
                one(quarantine_rows(&pieces.snapshot()?))
            }),
        ),
    ]
}

pub(super) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// All findings, in parts.
fn all_findings(store: &Store) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    let mut failed = None;
    let scanned = store.scan(PART, |records| match findings_rows(records) {
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
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(batches),
    }
}

pub(super) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

pub(super) fn time(name: &str) -> Field {
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
        text(|r| r.severity.as_str().to_owned()),
        text(|r| r.status.as_str().to_owned()),
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

/// Columns of `ledger`: what happened other than the ordinary, by hour.
pub(crate) fn ledger_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        time("hour"),
        text("kind"),
        text("cluster"),
        text("item"),
        Field::new("count", DataType::UInt64, false),
    ]))
}

fn ledger_rows(rows: &[LedgerRow]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        times(rows.iter().map(|row| row.hour)),
        texts(rows.iter().map(|row| row.kind.as_str())),
        texts(rows.iter().map(|row| row.cluster.as_str())),
        texts(rows.iter().map(|row| row.item.as_str())),
        numbers(rows.iter().map(|row| row.count)),
    ];
    RecordBatch::try_new(ledger_schema(), columns)
}

/// Columns of `clusters`: who delivered, how much and when last.
pub(crate) fn clusters_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("cluster"),
        time("last_event"),
        time("last_arrival"),
        Field::new("events", DataType::UInt64, false),
        Field::new("duplicates", DataType::UInt64, false),
    ]))
}

fn clusters_rows(clusters: &[ClusterSeen]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        texts(clusters.iter().map(|seen| seen.cluster.as_str())),
        times(clusters.iter().map(|seen| seen.last_event)),
        times(clusters.iter().map(|seen| seen.last_arrival)),
        numbers(clusters.iter().map(|seen| seen.events)),
        numbers(clusters.iter().map(|seen| seen.duplicates)),
    ];
    RecordBatch::try_new(clusters_schema(), columns)
}

/// Columns of `dead_letters`: what sinks refused for good; `finding` is its id.
pub(crate) fn dead_letters_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        time("time"),
        text("sink"),
        text("finding"),
        Field::new("revision", DataType::UInt64, false),
        text("cluster"),
        text("reason"),
    ]))
}

fn dead_letters_rows(letters: &[DeadLetter]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        times(letters.iter().map(|letter| letter.at)),
        texts(letters.iter().map(|letter| letter.sink.as_str())),
        texts(letters.iter().map(|letter| letter.finding.as_str())),
        numbers(letters.iter().map(|letter| letter.revision)),
        texts(letters.iter().map(|letter| letter.cluster.as_str())),
        texts(letters.iter().map(|letter| letter.why.as_str())),
    ];
    RecordBatch::try_new(dead_letters_schema(), columns)
}

/// Columns of `sinks`: how the sinks in use stand; `trouble` is what one said when it last failed.
pub(crate) fn sinks_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text("name"),
        text("type"),
        number("pending"),
        number("set_aside"),
        number("refused"),
        time("last_saved"),
        Field::new("trouble", DataType::Utf8, true),
    ]))
}

fn sinks_rows(sinks: &[SinkState]) -> Result<RecordBatch, ArrowError> {
    let trouble: StringArray = sinks.iter().map(|sink| sink.trouble.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![
        texts(sinks.iter().map(|sink| sink.name.as_str())),
        texts(sinks.iter().map(|sink| sink.kind)),
        numbers(sinks.iter().map(|sink| sink.pending)),
        numbers(sinks.iter().map(|sink| sink.set_aside)),
        numbers(sinks.iter().map(|sink| sink.refused)),
        times(sinks.iter().map(|sink| sink.used_at)),
        Arc::new(trouble),
    ];
    RecordBatch::try_new(sinks_schema(), columns)
}

pub(super) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

pub(super) fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::detect::catalog::Catalog;
    use crate::findings::step::{LedgerEntry, LedgerKind, Step};
    use crate::findings::store::StoreSettings;
    use crate::sql::context::analyst_session;

    #[tokio::test]
    async fn what_the_store_and_the_catalogue_hold_can_be_asked() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings { findings_max: 10, keep: i64::MAX };
        let store = Store::open(&folder.path().join("findings.db"), settings).unwrap();
        let entry = LedgerEntry {
            kind: LedgerKind::Late,
            cluster: "east".to_owned(),
            item: "T-1".to_owned(),
            at: 3_600_000_001,
            count: 2,
        };
        let seen = ClusterSeen {
            cluster: "east".to_owned(),
            last_event: 1_000_000,
            last_arrival: 2_000_000,
            events: 3,
            duplicates: 1,
        };
        let (ledger, clusters) = ([entry.clone(), entry], [seen.clone(), seen]);
        let step = Step { next: 1, ledger: &ledger, clusters: &clusters, ..Step::default() };
        store.commit(&step).unwrap();
        let quarantine = Quarantine::open(&folder.path().join("quarantine"), 1 << 20).unwrap();
        let context = analyst_session(1 << 30).unwrap();
        for (name, table) in store_tables(&Arc::new(store), &Arc::new(quarantine)) {
            context.register_table(name, Arc::new(table)).unwrap();
        }
        let in_use = InUse::new(Catalog::load(None).unwrap(), BTreeMap::new());
        let detections = detections_table(&Arc::new(in_use));
        context.register_table("detections", Arc::new(detections)).unwrap();
        let ask = async |sql: &str| {
            let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
            let text = pretty_format_batches(&rows).unwrap().to_string();
            let cells = text.lines().skip(3).filter(|line| line.starts_with('|'));
            cells.map(|line| line.replace(' ', "")).collect::<String>()
        };
        let ledger = ask("SELECT hour, kind, cluster, item, count FROM ledger").await;
        assert_eq!(ledger, "|1970-01-01T01:00:00Z|late|east|T-1|4|");
        let clusters = ask("SELECT * FROM clusters").await;
        assert_eq!(clusters, "|east|1970-01-01T00:00:01Z|1970-01-01T00:00:02Z|6|2|");
        let empty = "SELECT (SELECT count(*) FROM findings) AS a,
                     (SELECT count(*) FROM quarantine) AS b,
                     (SELECT count(*) FROM dead_letters) AS c";
        assert_eq!(ask(empty).await, "|0|0|0|");
        let one = "SELECT severity, attack, window_seconds, enabled FROM detections
                   WHERE id = 'K8A-205' AND sql LIKE '%secrets%' AND path LIKE '%.sql'";
        assert_eq!(ask(one).await, "|high|[\"T1552.007\"]|600|true|");
    }
}
