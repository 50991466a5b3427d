//! A row's content as bytes that do not depend on how it is stored.
//!
//! Of each column that has a value, in the byte order of their names:
//!
//! ```text
//! u8 length of the name │ name │ u8 form │ value
//!   form t: text        u32 length │ UTF-8
//!   form m: time        i64 microseconds since 1970, UTC
//!   form i: integer     i32
//!   form b: truth       u8, 0 or 1
//! ```
//! Numbers are little endian. A column without a value is not there at all, so that one that the
//! table gets later changes nothing. A row's hash is that of a leaf: SHA-256 of a zero byte and
//! these bytes. It covers what is kept: what was redacted is `REDACTED` here, and `event_id` still
//! is the hash of the event as it came.

use std::sync::LazyLock;

use arrow::array::DictionaryArray;
use arrow::array::{
    Array as _, AsArray as _, BooleanArray, Int32Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use serde_json::{Map, Value as Json};

use super::tree::Hash;
use crate::event::schema::{COLUMNS, Column, Form};
use crate::event::time::{parse_rfc3339, rfc3339};

/// The columns in the order in which they are written.
static SORTED: LazyLock<Vec<&'static Column>> = LazyLock::new(|| {
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    columns.sort_by_key(|column| column.name);
    columns
});

/// What stands before each value of a column, in the order of the columns.
static PREFIXES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| SORTED.iter().copied().map(prefix).collect());

/// Rows of the events table, to be written one by one.
#[derive(Debug)]
pub struct Contents<'a> {
    columns: Vec<Written<'a>>,
    /// Of the row that was hashed last, for all rows the same memory.
    bytes: Vec<u8>,
}

/// A column of a batch.
#[derive(Debug)]
struct Written<'a> {
    name: &'static str,
    prefix: &'static [u8],
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Dictionary(&'a DictionaryArray<Int32Type>, &'a StringArray),
    Views(&'a StringViewArray),
    Times(&'a TimestampMicrosecondArray),
    Integers(&'a Int32Array),
    Truths(&'a BooleanArray),
}

/// One value.
enum Cell<'a> {
    Text(&'a str),
    Time(i64),
    Integer(i32),
    Truth(bool),
}

impl<'a> Contents<'a> {
    /// The rows of a batch; `None` when it is not of the events table.
    #[must_use]
    pub fn new(batch: &'a RecordBatch) -> Option<Self> {
        let written = |(column, prefix): (&&'static Column, &'static Vec<u8>)| {
            let array = batch.column_by_name(column.name)?;
            let values = match column.form {
                Form::Repeating => {
                    let dictionary = array.as_dictionary_opt::<Int32Type>()?;
                    Values::Dictionary(dictionary, dictionary.values().as_string_opt::<i32>()?)
                }
                Form::Text => Values::Views(array.as_string_view_opt()?),
                Form::Time => Values::Times(array.as_primitive_opt::<TimestampMicrosecondType>()?),
                Form::Integer => Values::Integers(array.as_primitive_opt()?),
                Form::Truth => Values::Truths(array.as_boolean_opt()?),
            };
            Some(Written { name: column.name, prefix, values })
        };
        let columns = SORTED.iter().zip(PREFIXES.iter()).map(written).collect::<Option<_>>()?;
        Some(Self { columns, bytes: Vec::new() })
    }

    /// The hash of a row of the batch.
    pub fn hash(&mut self, row: usize) -> Hash {
        let Self { columns, bytes } = self;
        bytes.clear();
        // A leaf's hash is of a zero byte and the leaf's own: so it is taken of one piece.
        bytes.push(0);
        for column in columns.iter() {
            if let Some(cell) = column.values.at(row) {
                bytes.extend_from_slice(column.prefix);
                write(bytes, &cell);
            }
        }
        Hash::of(bytes)
    }

    /// The text that a row has in a column.
    #[must_use]
    pub fn text(&self, name: &str, row: usize) -> Option<&str> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        match column.values.at(row)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A row of the batch as JSON, which [`hash`] takes.
    #[must_use]
    pub fn json(&self, row: usize) -> Map<String, Json> {
        let cells = self.columns.iter().filter_map(|Written { name, values, .. }| {
            let value = match values.at(row)? {
                Cell::Text(text) => text.into(),
                Cell::Time(micros) => {
                    let text = rfc3339(micros);
                    // Times out of all calendars are numbers.
                    if parse_rfc3339(&text) == Some(micros) { text.into() } else { micros.into() }
                }
                Cell::Integer(integer) => integer.into(),
                Cell::Truth(truth) => truth.into(),
            };
            Some(((*name).to_owned(), value))
        });
        cells.collect()
    }
}

impl Values<'_> {
    fn at(&self, row: usize) -> Option<Cell<'_>> {
        match self {
            Self::Dictionary(array, texts) => {
                let key = array.key(row).filter(|key| *key < texts.len())?;
                texts.is_valid(key).then(|| Cell::Text(texts.value(key)))
            }
            Self::Views(array) => array.is_valid(row).then(|| Cell::Text(array.value(row))),
            Self::Times(array) => array.is_valid(row).then(|| Cell::Time(array.value(row))),
            Self::Integers(array) => array.is_valid(row).then(|| Cell::Integer(array.value(row))),
            Self::Truths(array) => array.is_valid(row).then(|| Cell::Truth(array.value(row))),
        }
    }
}

/// What stands before a column's values: its name and its form.
fn prefix(column: &'static Column) -> Vec<u8> {
    let form = match column.form {
        Form::Repeating | Form::Text => b't',
        Form::Time => b'm',
        Form::Integer => b'i',
        Form::Truth => b'b',
    };
    // Names of columns are short.
    let length = u8::try_from(column.name.len()).unwrap_or(u8::MAX);
    [&[length], column.name.as_bytes(), &[form]].concat()
}

fn write(bytes: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Text(text) => {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Cell::Time(micros) => bytes.extend_from_slice(&micros.to_le_bytes()),
        Cell::Integer(integer) => bytes.extend_from_slice(&integer.to_le_bytes()),
        Cell::Truth(truth) => bytes.push(u8::from(*truth)),
    }
}

/// The hash of a row of its JSON; `None` when a member is no column, or not of its form.
#[must_use]
pub fn hash(row: &Map<String, Json>) -> Option<Hash> {
    let mut bytes = Vec::new();
    let mut found = 0;
    for (column, prefix) in SORTED.iter().zip(PREFIXES.iter()) {
        let Some(value) = row.get(column.name) else { continue };
        found += 1;
        let cell = match (column.form, value) {
            (Form::Repeating | Form::Text, Json::String(text)) => Cell::Text(text),
            (Form::Time, Json::String(text)) => Cell::Time(parse_rfc3339(text)?),
            (Form::Time, Json::Number(number)) => Cell::Time(number.as_i64()?),
            (Form::Integer, Json::Number(number)) => {
                Cell::Integer(i32::try_from(number.as_i64()?).ok()?)
            }
            (Form::Truth, Json::Bool(truth)) => Cell::Truth(*truth),
            _ => return None,
        };
        bytes.extend_from_slice(prefix);
        write(&mut bytes, &cell);
    }
    (found == row.len()).then(|| Hash::of_leaf(&bytes))
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;

    use super::*;
    use crate::event::schema::events_schema;
    use crate::event::{EventRow, Rows};

    fn rows(users: &[&str]) -> RecordBatch {
        let mut rows = Rows::new();
        for user in users {
            let row = EventRow {
                cluster: "c",
                event_id: "0123",
                event_time: 5,
                user_name: Some(user),
                response_code: Some(200),
                name: Some("a\u{e9}\n"),
                ..EventRow::default()
            };
            rows.push(&row);
        }
        rows.finish()
    }

    #[test]
    fn a_row_is_the_same_bytes_in_any_batch_and_as_json() {
        let (one, other) = (rows(&["ann", "bob"]), rows(&["bob", "cat", "ann"]));
        let both = concat_batches(&events_schema(), [&other, &one]).unwrap();
        let mut contents = Contents::new(&one).unwrap();
        let (ann, bob) = (contents.hash(0), contents.hash(1));
        assert_ne!(ann, bob);
        let mut contents = Contents::new(&both).unwrap();
        assert_eq!((contents.hash(2), contents.hash(0), contents.hash(4)), (ann, bob, bob));
        let mut json = contents.json(2);
        assert_eq!(hash(&json), Some(ann));
        let text = serde_json::to_string(&json).unwrap();
        assert_eq!(hash(&serde_json::from_str(&text).unwrap()), Some(ann));
        json.insert("response_code".to_owned(), 201.into());
        assert!(hash(&json).is_some_and(|hash| hash != ann));
        json.insert("response_code".to_owned(), "201".into());
        assert_eq!(hash(&json), None);
        json.remove("response_code");
        assert!(hash(&json).is_some_and(|hash| hash != ann));
        json.insert("no_column".to_owned(), 1.into());
        assert_eq!(hash(&json), None);
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let json = serde_json::json!({"truncated": true, "cluster": "c", "response_code": -1,
            "event_time": "1970-01-01T00:00:00.000002Z"});
        let bytes = b"\x07clustert\x01\0\0\0c\x0aevent_timem\x02\0\0\0\0\0\0\0\
                      \x0dresponse_codei\xff\xff\xff\xff\x09truncatedb\x01";
        assert_eq!(hash(json.as_object().unwrap()), Some(Hash::of_leaf(bytes)));
    }
}
