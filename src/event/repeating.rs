//! Reading columns whose texts repeat.

use arrow::array::{Array as _, AsArray as _, DictionaryArray};
use arrow::datatypes::Int32Type;

/// The text of a row; `None` when it is NULL, or the column is not of texts.
pub fn text(column: &DictionaryArray<Int32Type>, row: usize) -> Option<&str> {
    let values = column.values().as_string_opt::<i32>()?;
    column.key(row).filter(|key| *key < values.len()).map(|key| values.value(key))
}
