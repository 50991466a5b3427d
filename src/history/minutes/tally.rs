//! Rows -> how many there are of each kind in each minute.

use std::collections::HashMap;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use std::sync::{Arc, LazyLock};

/// Columns of `events` that tell the kinds apart, beside the response's code.
pub(super) const TEXTS: [&str; 6] =
    ["cluster", "stage", "verb", "api_group", "resource", "decision"];

/// What is read of events to count them.
pub(super) const READ: [&str; 8] = [
    "event_time",
    "cluster",
    "stage",
    "verb",
    "api_group",
    "resource",
    "decision",
    "response_code",
];

const MINUTE: i64 = 60_000_000;

/// A kind of event in a minute: the minute, its texts by number, its code.
type Kind = (i64, [u32; TEXTS.len()], Option<i32>);

/// The columns of `events_per_minute`.
pub(super) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![Field::new("minute", time, false)];
        fields.extend(TEXTS.map(|name| Field::new(name, DataType::Utf8, true)));
        fields.push(Field::new("response_code", DataType::Int32, true));
        fields.push(Field::new("events", DataType::UInt64, false));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// Counts events. It takes memory by how many kinds there are, not by how many events.
#[derive(Debug, Default)]
pub(in crate::history) struct Tally {
    texts: Vec<String>,
    /// Numbers of texts, from 1 on; 0 is NULL.
    numbers: HashMap<String, u32>,
    counts: HashMap<Kind, u64>,
}

impl Tally {
    /// Counts rows that have the columns of `events`, or those of them that are counted by. A
    /// column that is missing is NULL.
    ///
    /// # Errors
    /// When a column is not of the type that it has in `events`.
    pub(in crate::history) fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let wrong = |name: &str| ArrowError::SchemaError(format!("`{name}` is not as in `events`"));
        let times = rows.column_by_name("event_time").ok_or_else(|| wrong("event_time"))?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| wrong("event_time"))?;
        let codes = rows.column_by_name("response_code");
        let codes = codes.map(|codes| {
            codes.as_primitive_opt::<Int32Type>().ok_or_else(|| wrong("response_code"))
        });
        let codes = codes.transpose()?;
        let columns = TEXTS.map(|name| match rows.column_by_name(name) {
            Some(column) => self.numbered(column).ok_or_else(|| wrong(name)).map(Some),
            None => Ok(None),
        });
        for row in 0..rows.num_rows() {
            let mut texts = [0; TEXTS.len()];
            for (number, column) in texts.iter_mut().zip(&columns) {
                match column {
                    Ok(Some(column)) => *number = column.of(row),
                    Ok(None) => {}
                    Err(error) => return Err(ArrowError::SchemaError(error.to_string())),
                }
            }
            let minute = times.value(row).div_euclid(MINUTE);
            let code = codes.filter(|codes| codes.is_valid(row)).map(|codes| codes.value(row));
            *self.counts.entry((minute, texts, code)).or_default() += 1;
        }
        Ok(())
    }

    /// What was counted, by time.
    pub(in crate::history) fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let mut counts: Vec<(&Kind, u64)> =
            self.counts.iter().map(|(kind, events)| (kind, *events)).collect();
        counts.sort_unstable();
        let minutes = counts.iter().map(|((minute, ..), _)| minute.saturating_mul(MINUTE));
        let minutes = TimestampMicrosecondArray::from_iter_values(minutes).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![Arc::new(minutes)];
        for column in 0..TEXTS.len() {
            let numbers = counts.iter().map(|((_, texts, _), _)| texts.get(column));
            let texts = numbers.map(|number| self.text(*number?));
            columns.push(Arc::new(texts.collect::<StringArray>()));
        }
        columns.push(Arc::new(counts.iter().map(|((.., code), _)| *code).collect::<Int32Array>()));
        let events = counts.iter().map(|(_, events)| *events);
        columns.push(Arc::new(UInt64Array::from_iter_values(events)));
        RecordBatch::try_new(schema(), columns)
    }

    fn text(&self, number: u32) -> Option<&str> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.texts.get(at).map(String::as_str)
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.to_owned());
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// A column's values by number.
    fn numbered<'a>(&mut self, column: &'a ArrayRef) -> Option<Numbered<'a>> {
        let column = column.as_dictionary_opt::<Int32Type>()?;
        let values = column.values().as_string_opt::<i32>()?;
        let numbers = values.iter().map(|text| text.map_or(0, |text| self.number(text))).collect();
        Some(Numbered { keys: column.keys(), numbers })
    }
}

struct Numbered<'a> {
    keys: &'a Int32Array,
    numbers: Vec<u32>,
}

impl Numbered<'_> {
    fn of(&self, row: usize) -> u32 {
        if self.keys.is_null(row) {
            return 0;
        }
        let at = usize::try_from(self.keys.value(row)).ok();
        at.and_then(|at| self.numbers.get(at)).copied().unwrap_or(0)
    }
}
