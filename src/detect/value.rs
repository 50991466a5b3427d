//! One cell of a query's result, free of Arrow: what keys, rows and sentences are made of.

use std::fmt;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::ScalarValue;

use crate::event::time::rfc3339;

/// A cell. Ordered and comparable, so that results can be put in a fixed order.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Value {
    /// SQL NULL; a value like any other in a key.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any whole number that fits.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text, a timestamp (RFC 3339 with microseconds), or any other type's text form.
    Text(String),
}

impl Value {
    /// The cell of `array` at `row`; `Null` when the row does not exist.
    #[must_use]
    pub fn at(array: &ArrayRef, row: usize) -> Self {
        if row >= array.len() || array.is_null(row) {
            return Self::Null;
        }
        // What nearly all columns are, without a detour.
        match array.data_type() {
            DataType::Utf8 => return Self::Text(array.as_string::<i32>().value(row).to_owned()),
            DataType::Utf8View => {
                return Self::Text(array.as_string_view().value(row).to_owned());
            }
            DataType::Int64 => return Self::Int(array.as_primitive::<Int64Type>().value(row)),
            DataType::Boolean => return Self::Bool(array.as_boolean().value(row)),
            DataType::Dictionary(..) => {
                if let Some(array) = array.as_dictionary_opt::<Int32Type>() {
                    return array.key(row).map_or(Self::Null, |key| Self::at(array.values(), key));
                }
            }
            _ => {}
        }
        match ScalarValue::try_from_array(array, row) {
            Ok(scalar) => Self::from_scalar(&scalar),
            Err(_) => Self::Null,
        }
    }

    /// All cells of one row, in column order.
    #[must_use]
    pub fn row(batch: &RecordBatch, row: usize) -> Vec<Self> {
        batch.columns().iter().map(|column| Self::at(column, row)).collect()
    }

    fn from_scalar(scalar: &ScalarValue) -> Self {
        if scalar.is_null() {
            return Self::Null;
        }
        match scalar {
            ScalarValue::Dictionary(_, inner) => Self::from_scalar(inner),
            ScalarValue::Boolean(Some(value)) => Self::Bool(*value),
            ScalarValue::Int8(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::Int16(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::Int32(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::Int64(Some(value)) => Self::Int(*value),
            ScalarValue::UInt8(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::UInt16(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::UInt32(Some(value)) => Self::Int(i64::from(*value)),
            ScalarValue::UInt64(Some(value)) => {
                i64::try_from(*value).map_or_else(|_| Self::Text(value.to_string()), Self::Int)
            }
            ScalarValue::Float32(Some(value)) => Self::Float(f64::from(*value)),
            ScalarValue::Float64(Some(value)) => Self::Float(*value),
            ScalarValue::Utf8(Some(value))
            | ScalarValue::LargeUtf8(Some(value))
            | ScalarValue::Utf8View(Some(value)) => Self::Text(value.clone()),
            ScalarValue::TimestampMicrosecond(Some(value), _) => Self::Text(rfc3339(*value)),
            other => Self::Text(other.to_string()),
        }
    }

    /// JSON of the cell, for wires.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
        }
    }

    /// Bytes that differ for different values: a tag, then a self-delimiting body. Part of a
    /// finding's identity, so it must never change.
    pub(crate) fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(value) => out.extend([1, u8::from(*value)]),
            Self::Int(value) => {
                out.push(2);
                out.extend(value.to_be_bytes());
            }
            Self::Float(value) => {
                out.push(3);
                out.extend(value.to_bits().to_be_bytes());
            }
            Self::Text(value) => Self::write_text(value, out),
        }
    }

    /// The same bytes as of a [`Value::Text`].
    pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
        out.push(4);
        out.extend((text.len() as u64).to_be_bytes());
        out.extend(text.as_bytes());
    }

    /// The values that were written one behind the other.
    pub(crate) fn read_canonical(mut bytes: &[u8]) -> Vec<Self> {
        fn number(bytes: &[u8]) -> Option<([u8; 8], &[u8])> {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((*number, rest))
        }
        let mut values = Vec::new();
        while let Some((tag, rest)) = bytes.split_first() {
            let read = match tag {
                0 => Some((Self::Null, rest)),
                1 => rest.split_first().map(|(value, rest)| (Self::Bool(*value == 1), rest)),
                2 => number(rest).map(|(n, rest)| (Self::Int(i64::from_be_bytes(n)), rest)),
                3 => number(rest).map(|(n, rest)| (Self::Float(f64::from_be_bytes(n)), rest)),
                _ => number(rest).and_then(|(len, rest)| {
                    let len = usize::try_from(u64::from_be_bytes(len)).ok()?;
                    let (text, rest) = rest.split_at_checked(len)?;
                    Some((Self::Text(String::from_utf8_lossy(text).into_owned()), rest))
                }),
            };
            let Some((value, rest)) = read else { break };
            values.push(value);
            bytes = rest;
        }
        values
    }
}

impl fmt::Display for Value {
    /// The text of the cell; NULL shows as `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("none"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}
