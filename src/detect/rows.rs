//! A plan's result, read back: the query's own columns in front, ours behind them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};

use super::evidence::Mark;
use super::row::Row;
use super::value::Value;

/// Reads the event columns that plans append.
pub(crate) struct Events {
    times: TimestampMicrosecondArray,
    event_ids: StringViewArray,
    audit_ids: StringViewArray,
}

impl Events {
    /// Of a batch that ends in `plan::EVENT_COLUMNS`.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self> {
        let column = |name: &str, data_type: &DataType| -> Result<ArrayRef> {
            let column = batch.column_by_name(name).ok_or_else(|| {
                DataFusionError::Internal(format!("plan result without column {name}"))
            })?;
            // What they nearly always are already.
            let is_as_wanted = column.data_type() == data_type;
            Ok(if is_as_wanted { Arc::clone(column) } else { cast(column, data_type)? })
        };
        let text = |name: &str| -> Result<StringViewArray> {
            Ok(column(name, &DataType::Utf8View)?.as_string_view().clone())
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(Self {
            times: column("__event_time", &time)?.as_primitive().clone(),
            event_ids: text("__event_id")?,
            audit_ids: text("__audit_id")?,
        })
    }

    /// The event of a row.
    pub(crate) fn at(&self, row: usize) -> Mark {
        let audit_id = self.audit_ids.is_valid(row).then(|| self.audit_ids.value(row));
        Mark::new(self.time(row), self.event_ids.value(row), audit_id)
    }

    /// The event time of a row, microseconds.
    pub(crate) fn time(&self, row: usize) -> i64 {
        self.times.value(row)
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

/// When rows arrived, microseconds; nothing where they do not say so.
pub(crate) fn arrivals(rows: &RecordBatch) -> &[i64] {
    let column = rows.column_by_name("ingest_time");
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    times.map_or(&[], |times| times.values())
}

/// Columns by position, with their names.
pub(crate) struct Columns {
    names: Arc<[String]>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// The columns of a batch whose names pass.
    pub(crate) fn of(batch: &RecordBatch, keep: impl Fn(&str) -> bool) -> Self {
        let schema = batch.schema();
        let kept = schema.fields().iter().zip(batch.columns()).filter(|(f, _)| keep(f.name()));
        let (names, arrays): (Vec<_>, _) =
            kept.map(|(f, array)| (f.name().clone(), array.clone())).unzip();
        Self { names: names.into(), arrays }
    }

    /// What a plan shows of its results, which always have the same columns: `names` are theirs,
    /// once known.
    pub(crate) fn shown(batch: &RecordBatch, names: &OnceLock<Arc<[String]>>) -> Self {
        let shown = |name: &str| !name.starts_with("__");
        let Some(names) = names.get() else {
            let columns = Self::of(batch, shown);
            let _ = names.set(Arc::clone(&columns.names));
            return columns;
        };
        let schema = batch.schema_ref();
        let kept = schema.fields().iter().zip(batch.columns()).filter(|(f, _)| shown(f.name()));
        let arrays = kept.map(|(_, array)| Arc::clone(array)).collect();
        Self { names: Arc::clone(names), arrays }
    }

    /// The values of a row.
    pub(crate) fn values(&self, row: usize) -> Vec<Value> {
        self.arrays.iter().map(|array| Value::at(array, row)).collect()
    }

    /// The values of a row with their column names.
    pub(crate) fn named(&self, row: usize) -> Row {
        Row::new(&self.names, self.values(row))
    }
}

/// The rows of each cluster, in the order of their names. Most batches have one.
pub(crate) fn by_cluster(batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
    let index = batch.schema().index_of("cluster")?;
    let column = batch.column(index).as_dictionary::<Int32Type>();
    let names = column.values().as_string::<i32>();
    let keys = column.keys();
    if keys.null_count() == 0
        && let Some((first, others)) = keys.values().split_first()
        && others.iter().all(|key| key == first)
    {
        let name = usize::try_from(*first).map(|key| names.value(key)).unwrap_or_default();
        return Ok(vec![(name.to_owned(), batch.clone())]);
    }
    let mut rows: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (row, key) in (0_u32..).zip(keys) {
        if let Some(name) = key.and_then(|key| usize::try_from(key).ok()) {
            rows.entry(names.value(name)).or_default().push(row);
        }
    }
    if let (1, Some((name, _))) = (rows.len(), rows.first_key_value()) {
        return Ok(vec![((*name).to_owned(), batch.clone())]);
    }
    let parts = rows.into_iter().map(|(name, rows)| {
        Ok((name.to_owned(), take_record_batch(batch, &UInt32Array::from(rows))?))
    });
    parts.collect()
}

/// One column of a key, read without making values of its cells.
enum Cells<'a> {
    Repeating(&'a DictionaryArray<Int32Type>, &'a StringArray),
    Text(&'a StringArray),
    View(&'a StringViewArray),
    Int(&'a Int64Array),
    Bool(&'a BooleanArray),
    Other(&'a ArrayRef),
}

impl<'a> Cells<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        let repeating = array.as_dictionary_opt::<Int32Type>();
        let repeating = repeating.and_then(|array| Some((array, array.values().as_string_opt()?)));
        match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Utf8View => Self::View(array.as_string_view()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>()),
            DataType::Boolean => Self::Bool(array.as_boolean()),
            _ => {
                repeating.map_or(Self::Other(array), |(array, texts)| Self::Repeating(array, texts))
            }
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Repeating(array, texts) => {
                let key = array.key(row).filter(|key| texts.is_valid(*key));
                write_text(key.map(|key| texts.value(key)), out);
            }
            Self::Text(array) => write_text(array.is_valid(row).then(|| array.value(row)), out),
            Self::View(array) => write_text(array.is_valid(row).then(|| array.value(row)), out),
            Self::Int(array) if array.is_valid(row) => {
                Value::Int(array.value(row)).write_canonical(out);
            }
            Self::Bool(array) if array.is_valid(row) => {
                Value::Bool(array.value(row)).write_canonical(out);
            }
            Self::Int(_) | Self::Bool(_) => Value::Null.write_canonical(out),
            Self::Other(array) => Value::at(array, row).write_canonical(out),
        }
    }
}

fn write_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => Value::write_text(text, out),
        None => Value::Null.write_canonical(out),
    }
}

/// The columns that make a key.
pub(crate) struct KeyCells<'a>(Vec<Cells<'a>>);

impl<'a> KeyCells<'a> {
    pub(crate) fn of(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Self {
        Self(columns.into_iter().map(Cells::of).collect())
    }

    /// Puts the [`key_bytes`] of a row into `out`.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.clear();
        for cells in &self.0 {
            cells.write(row, out);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;

    use super::*;

    #[test]
    fn keys_are_the_same_bytes_however_they_are_read_and_come_back() {
        let texts = StringArray::from(vec![Some("eve"), None, Some("")]);
        let repeating = cast(
            &texts,
            &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        )
        .unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(1), None, Some(-5)]);
        let columns: Vec<ArrayRef> = vec![
            cast(&texts, &DataType::Utf8View).unwrap(),
            Arc::new(texts),
            repeating,
            Arc::new(Int64Array::from(vec![Some(7), None, Some(-1)])),
            Arc::new(Int32Array::from(vec![Some(7), None, Some(-1)])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(times),
        ];
        let cells = KeyCells::of(&columns);
        let mut bytes = Vec::new();
        for row in 0..3 {
            let values: Vec<Value> = columns.iter().map(|array| Value::at(array, row)).collect();
            cells.write(row, &mut bytes);
            assert_eq!(bytes, key_bytes(&values));
            assert_eq!(Value::read_canonical(&bytes), values);
        }
    }
}
