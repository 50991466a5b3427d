//! Values of keys as the columns that they were read from.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;

use super::super::value::Value;
use super::plan::is_whole;

/// Whether [`column()`] makes the column's value again from the key.
pub(super) fn comes_back(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => value.is_string(),
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Microsecond,
        DataType::Boolean | DataType::Float64 => true,
        other => other.is_string() || is_whole(other),
    }
}

/// Values of any one type, and NULL, as a column of a type that they can be cast to.
pub(super) fn column<'a>(
    values: impl Iterator<Item = &'a Value> + Clone,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let mut known = values.clone().filter(|value| !matches!(value, Value::Null));
    let made: ArrayRef = match known.next() {
        None | Some(Value::Null) => return Ok(new_null_array(data_type, values.count())),
        Some(Value::Text(_)) => Arc::new(values.map(text).collect::<StringArray>()),
        Some(Value::Int(_)) => Arc::new(values.map(int).collect::<Int64Array>()),
        Some(Value::Float(_)) => Arc::new(values.map(float).collect::<Float64Array>()),
        Some(Value::Bool(_)) => Arc::new(values.map(truth).collect::<BooleanArray>()),
    };
    if made.data_type() == data_type {
        return Ok(made);
    }
    Ok(cast(&made, data_type)?)
}

fn text(value: &Value) -> Option<&str> {
    if let Value::Text(value) = value { Some(value) } else { None }
}

fn int(value: &Value) -> Option<i64> {
    if let Value::Int(value) = value { Some(*value) } else { None }
}

fn float(value: &Value) -> Option<f64> {
    if let Value::Float(value) = value { Some(*value) } else { None }
}

fn truth(value: &Value) -> Option<bool> {
    if let Value::Bool(value) = value { Some(*value) } else { None }
}
