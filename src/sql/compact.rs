//! Rows without what is only around them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The same rows with no values but their own: neither in dictionaries nor in buffers that texts
/// were cut from. A few kept rows do not hold on to a whole batch then, and who is given rows is
/// not given what was filtered out of them.
///
/// # Errors
/// Never in practice: when a dictionary cannot be made smaller.
pub fn compact(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Ok(Arc::new(column.as_string_view().gc()) as ArrayRef),
        DataType::Dictionary(..) => {
            arrow_select::dictionary::garbage_collect_any_dictionary(column.as_any_dictionary())
        }
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<_, _>>()?;
    // Rows without a column have a number all the same.
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}
