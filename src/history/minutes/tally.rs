//! Rows -> how many there are of each kind in each minute.
//!
//! Whoever delivers chooses texts and times, so both are bounded: a text is told by its first
//! [`TEXT_BYTES_MAX`] bytes, and beyond [`TEXTS_MAX`] texts or [`KINDS_MAX`] kinds what tells kinds
//! apart is NULL, all but the cluster and the minute. How many events there are stays true.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, DictionaryArray, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

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

/// Bytes of a text, or a few less where a letter would be cut.
const TEXT_BYTES_MAX: usize = 256;
/// Texts of one tally.
const TEXTS_MAX: usize = 16_384;
/// Kinds of one tally.
const KINDS_MAX: usize = 131_072;

/// A kind of event in a minute: the minute, its texts by number, its code.
type Kind = (i64, [u32; TEXTS.len()], Option<i32>);

/// The columns of `events_per_minute`.
pub(super) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![Field::new("minute", time, false)];
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        fields.extend(TEXTS.map(|name| Field::new(name, text.clone(), true)));
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
            let mut kind = (minute, texts, code);
            if self.counts.len() >= KINDS_MAX && !self.counts.contains_key(&kind) {
                let [cluster, ..] = texts;
                kind = (minute, [cluster, 0, 0, 0, 0, 0], None);
            }
            *self.counts.entry(kind).or_default() += 1;
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
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(&self.texts));
        for column in 0..TEXTS.len() {
            let numbers = counts.iter().map(|((_, texts, _), _)| texts.get(column));
            let keys = numbers.map(|number| i32::try_from(number?.checked_sub(1)?).ok());
            columns.push(Arc::new(DictionaryArray::<Int32Type>::try_new(
                keys.collect(),
                Arc::clone(&texts),
            )?));
        }
        columns.push(Arc::new(counts.iter().map(|((.., code), _)| *code).collect::<Int32Array>()));
        let events = counts.iter().map(|(_, events)| *events);
        columns.push(Arc::new(UInt64Array::from_iter_values(events)));
        RecordBatch::try_new(schema(), columns)
    }

    fn number(&mut self, text: &str) -> u32 {
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.texts.len() >= TEXTS_MAX {
            return 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventRow, Rows};

    fn rows(number: u32, of: impl Fn(u32) -> (i64, String, i32)) -> RecordBatch {
        let mut rows = Rows::new();
        for at in 0..number {
            let (event_time, verb, code) = of(at);
            rows.push(&EventRow {
                cluster: "c",
                event_id: "0123",
                event_time,
                verb: Some(&verb),
                response_code: Some(code),
                ..EventRow::default()
            });
        }
        rows.finish()
    }

    fn total(counts: &RecordBatch) -> u64 {
        let events = counts.column_by_name("events").unwrap();
        events.as_primitive::<arrow::datatypes::UInt64Type>().values().iter().sum()
    }

    #[test]
    fn what_is_endless_is_counted_all_the_same() {
        let mut tally = Tally::default();
        let long = |at: u32| (i64::from(at % 3) * MINUTE, "é".repeat(1_000_000), 200);
        tally.add(&rows(9, long)).unwrap();
        let counts = tally.rows().unwrap();
        assert_eq!((counts.num_rows(), total(&counts)), (3, 9));
        // More texts than are told, and more kinds.
        tally.add(&rows(20_000, |at| (0, format!("verb-{at}"), 200))).unwrap();
        for part in 0..8 {
            let codes =
                |at: u32| (-1, "get".to_owned(), i32::try_from(part * 20_000 + at).unwrap());
            tally.add(&rows(20_000, codes)).unwrap();
        }
        let counts = tally.rows().unwrap();
        assert_eq!(total(&counts), 9 + 20_000 + 160_000);
        assert!(counts.num_rows() <= KINDS_MAX + 2, "{}", counts.num_rows());
        let times = counts.column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(0), -MINUTE, "rounded down");
        assert!(counts.get_array_memory_size() < 16 << 20);
    }
}
