//! A plan's result, read back: the query's own columns in front, ours behind them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};

use super::evidence::EventRef;
use super::value::Value;

/// Reads the event columns that plans append.
pub(crate) struct Events {
    times: ArrayRef,
    event_ids: ArrayRef,
    audit_ids: ArrayRef,
}

impl Events {
    /// Of a batch that ends in `plan::EVENT_COLUMNS`.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self> {
        let column = |name: &str, data_type: &DataType| -> Result<ArrayRef> {
            let column = batch.column_by_name(name).ok_or_else(|| {
                DataFusionError::Internal(format!("plan result without column {name}"))
            })?;
            Ok(cast(column, data_type)?)
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(Self {
            times: column("__event_time", &time)?,
            event_ids: column("__event_id", &DataType::Utf8View)?,
            audit_ids: column("__audit_id", &DataType::Utf8View)?,
        })
    }

    /// The event of a row.
    pub(crate) fn at(&self, row: usize) -> EventRef {
        let audit_ids = self.audit_ids.as_string_view();
        EventRef {
            event_time: self.time(row),
            event_id: self.event_ids.as_string_view().value(row).to_owned(),
            audit_id: audit_ids.is_valid(row).then(|| audit_ids.value(row).to_owned()),
        }
    }

    /// The event time of a row, microseconds.
    pub(crate) fn time(&self, row: usize) -> i64 {
        self.times.as_primitive::<TimestampMicrosecondType>().value(row)
    }
}

/// The event times of rows of the events table, or of some of its columns; microseconds.
///
/// # Errors
/// When they have none.
pub(crate) fn event_times(rows: &RecordBatch) -> Result<&[i64]> {
    let column = rows.column_by_name("event_time");
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| DataFusionError::Internal("rows without times".to_owned()))?;
    Ok(times.values())
}

/// Columns by position, with their names.
pub(crate) struct Columns {
    names: Vec<String>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// The columns of a batch whose names pass.
    pub(crate) fn of(batch: &RecordBatch, keep: impl Fn(&str) -> bool) -> Self {
        let schema = batch.schema();
        let kept = schema.fields().iter().zip(batch.columns()).filter(|(f, _)| keep(f.name()));
        let (names, arrays) = kept.map(|(f, array)| (f.name().clone(), array.clone())).unzip();
        Self { names, arrays }
    }

    /// The values of a row.
    pub(crate) fn values(&self, row: usize) -> Vec<Value> {
        self.arrays.iter().map(|array| Value::at(array, row)).collect()
    }

    /// The values of a row with their column names.
    pub(crate) fn named(&self, row: usize) -> Vec<(String, Value)> {
        self.names.iter().cloned().zip(self.values(row)).collect()
    }
}

/// Bytes that are equal for equal values: the key of a key table.
pub(crate) fn key_bytes(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 24);
    for value in values {
        value.write_canonical(&mut bytes);
    }
    bytes
}
