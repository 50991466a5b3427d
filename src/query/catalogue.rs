//! What runs, as tables: detections, with what is wrong with their files, and what is exempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::tables::{external, json, text, texts, time};
use crate::detect::detection::Detection;
use crate::detect::exception::{Detections, Exception};
use crate::detect::in_use::{InUse, Loaded};
use crate::detect::outcome::Cost;
use crate::findings::reading::LedgerRow;
use crate::findings::step::LedgerKind;
use crate::findings::store::Store;
use crate::sql::snapshot::SnapshotTable;

/// The table `detections`, as they are when it is scanned.
pub(super) fn detections_table(in_use: &Arc<InUse>) -> SnapshotTable {
    let in_use = Arc::clone(in_use);
    SnapshotTable::new(detections_schema(), move || Ok(vec![in_use.look(detections_rows)?]))
}

/// The table `exceptions`, as they are when it is scanned, with what each hid.
pub(super) fn exceptions_table(
    in_use: &Arc<InUse>,
    store: &Arc<Store>,
    clock: fn() -> i64,
) -> SnapshotTable {
    let (in_use, store) = (Arc::clone(in_use), Arc::clone(store));
    SnapshotTable::new(exceptions_schema(), move || {
        let ledger = store.ledger().map_err(external)?;
        let rows = in_use.look(|loaded| exceptions_rows(loaded, &ledger, clock()));
        Ok(vec![rows?])
    })
}

fn optional(name: &str) -> Field {
    text(name).with_nullable(true)
}

/// Columns of `detections`; lists and maps are JSON text. `window_seconds` is NULL without windows,
/// `class` of what does not run, `learned` (shares by cluster) of what has nothing to learn. A
/// file that cannot be read has `error`: in the row of the detection that was read from it before,
/// else in one of its own with a path alone. `lacks` says why one that is on cannot be evaluated.
/// Of what runs, since the server started: `candidates` are the rows that its conditions let
/// through, `busy_seconds` the time for these and its windows; `keys` and `state_bytes` are what it
/// keeps now.
fn detections_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        optional("id"),
        optional("title"),
        optional("severity"),
        optional("attack"),
        optional("controls"),
        Field::new("window_seconds", DataType::Int64, true),
        optional("sql"),
        text("path"),
        Field::new("enabled", DataType::Boolean, false),
        optional("class"),
        optional("source"),
        Field::new("exceptions", DataType::UInt64, false),
        optional("learned"),
        optional("error"),
        optional("lacks"),
        Field::new("candidates", DataType::UInt64, true),
        Field::new("busy_seconds", DataType::Float64, true),
        Field::new("keys", DataType::UInt64, true),
        Field::new("state_bytes", DataType::UInt64, true),
    ]))
}

fn detections_rows(loaded: &Loaded) -> Result<RecordBatch, ArrowError> {
    let catalog = &loaded.catalog;
    let mut detections: Vec<&Detection> =
        catalog.detections().chain(catalog.disabled()).map(AsRef::as_ref).collect();
    detections.sort_by(|a, b| a.id.cmp(&b.id));
    let mut errors: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for mistake in &loaded.mistakes {
        errors.entry(&mistake.path).or_default().push(mistake.to_string());
    }
    let mut rows: Vec<(Option<&Detection>, &str, Option<String>)> = Vec::new();
    for detection in detections {
        let error = errors.remove(detection.path.as_ref()).map(|errors| errors.join("\n"));
        rows.push((Some(detection), &detection.path, error));
    }
    rows.extend(errors.into_iter().map(|(path, errors)| (None, path, Some(errors.join("\n")))));
    let text = |value: &dyn Fn(&Detection) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|(of, ..)| value((*of)?)).collect::<StringArray>())
    };
    let window = |of: &Detection| of.window.map(|window| window.length / 1_000_000);
    let windows: Int64Array = rows.iter().map(|(of, ..)| of.and_then(window)).collect();
    let runs = |of: &Detection| catalog.get(&of.id).is_some();
    let enabled: BooleanArray = rows.iter().map(|(of, ..)| Some(of.is_some_and(runs))).collect();
    let exempt = |of: &Detection| catalog.exceptions_of(&of.id).count() as u64;
    let exceptions = rows.iter().map(|(of, ..)| of.map_or(0, exempt));
    let cost = |value: fn(&Cost) -> u64| -> ArrayRef {
        let costs = rows.iter().map(|(of, ..)| (*of).and_then(|of| loaded.costs.get(&of.id)));
        Arc::new(costs.map(|cost| cost.map(value)).collect::<UInt64Array>())
    };
    let seconds = |of: &Detection| {
        let cost = loaded.costs.get(&of.id)?;
        Some(Duration::from_nanos(cost.nanos).as_secs_f64())
    };
    let busy: Float64Array = rows.iter().map(|(of, ..)| of.and_then(seconds)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(&|of| Some(of.id.clone())),
        text(&|of| Some(of.title.clone())),
        text(&|of| Some(of.severity.as_str().to_owned())),
        text(&|of| Some(json(&of.attack))),
        text(&|of| Some(json(&of.controls))),
        Arc::new(windows),
        text(&|of| Some(of.sql.clone())),
        texts(rows.iter().map(|(_, path, _)| *path)),
        Arc::new(enabled),
        text(&|of| Some((*loaded.classes.get(&of.id)?).to_owned())),
        text(&|of| Some(catalog.origin(&of.id).as_str().to_owned())),
        Arc::new(UInt64Array::from_iter_values(exceptions)),
        text(&|of| loaded.learned.get(&of.id).map(json)),
        Arc::new(rows.iter().map(|(_, _, error)| error.clone()).collect::<StringArray>()),
        text(&|of| catalog.lacks(&of.id).map(str::to_owned)),
        cost(|cost| cost.rows),
        Arc::new(busy),
        cost(|cost| cost.keys as u64),
        cost(|cost| cost.bytes as u64),
    ];
    RecordBatch::try_new(detections_schema(), columns)
}

/// Columns of `exceptions`; lists are JSON text. `state` is `active`, `expired` or `removed`: of
/// one that is gone only its name and what it hid are known. No `clusters` are all of them; `list`
/// is whose entry it is, none of the operator's own.
fn exceptions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("name"),
        text("state"),
        optional("list"),
        optional("detections"),
        optional("condition"),
        optional("owner"),
        optional("reason"),
        time("expires").with_nullable(true),
        optional("clusters"),
        Field::new("hidden", DataType::UInt64, false),
        time("latest").with_nullable(true),
    ]))
}

/// An exception's name, what it is, and how many events it hid, the last in which hour.
type Row<'a> = (&'a str, Option<&'a Exception>, Option<(u64, i64)>);

fn exceptions_rows(
    loaded: &Loaded,
    ledger: &[LedgerRow],
    now: i64,
) -> Result<RecordBatch, ArrowError> {
    // How many events each hid, and the last hour in which it did.
    let mut hidden: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    for row in ledger.iter().filter(|row| row.kind.as_str() == LedgerKind::Exempted.as_str()) {
        let (count, latest) = hidden.entry(&row.item).or_insert((0, i64::MIN));
        (*count, *latest) = (*count + row.count, (*latest).max(row.hour));
    }
    let of = |exception| -> Row<'_> {
        let exception: &Exception = exception;
        (exception.name.as_str(), Some(exception), hidden.get(exception.name.as_str()).copied())
    };
    let exceptions = loaded.catalog.exceptions();
    let mut rows: Vec<Row<'_>> = exceptions.iter().map(|exception| of(exception)).collect();
    let is_gone = |name: &str| !exceptions.iter().any(|exception| exception.name == name);
    let gone = hidden.iter().filter(|(name, _)| is_gone(name));
    rows.extend(gone.map(|(name, hidden)| (*name, None, Some(*hidden))));
    let text = |value: &dyn Fn(&Exception) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, of, _)| of.map(value)).collect::<StringArray>())
    };
    let state = |of: Option<&Exception>| match of {
        None => "removed",
        Some(exception) if exception.is_expired(now) => "expired",
        Some(_) => "active",
    };
    let ids = |of: &Exception| match &of.detections {
        Detections::All => json(&["*"]),
        Detections::Ids(ids) => json(ids),
    };
    let expires: TimestampMicrosecondArray =
        rows.iter().map(|(_, of, _)| of.map(|of| of.expires)).collect();
    let latest: TimestampMicrosecondArray =
        rows.iter().map(|(_, _, hidden)| hidden.map(|(_, latest)| latest)).collect();
    let counts = rows.iter().map(|(_, _, hidden)| hidden.map_or(0, |(count, _)| count));
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|(name, ..)| *name)),
        texts(rows.iter().map(|(_, of, _)| state(*of))),
        Arc::new(
            rows.iter()
                .map(|(_, of, _)| of.and_then(|of| of.list.as_deref()))
                .collect::<StringArray>(),
        ),
        text(&ids),
        text(&|of| of.condition.clone()),
        text(&|of| of.owner.clone()),
        text(&|of| of.reason.clone()),
        Arc::new(expires.with_timezone("UTC")),
        text(&|of| json(&of.clusters)),
        Arc::new(UInt64Array::from_iter_values(counts)),
        Arc::new(latest.with_timezone("UTC")),
    ];
    RecordBatch::try_new(exceptions_schema(), columns)
}
