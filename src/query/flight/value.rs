//! Parameters of a statement as the engine's values.

use std::panic::{AssertUnwindSafe, catch_unwind};

use datafusion::common::ScalarValue;
use tonic::Status;

use super::handle::{CONTRADICTION, Handle, unread};

/// The values of `$1`, `$2`, ...
///
/// # Errors
/// When they are not one row, or cannot be read.
pub(super) async fn values(handle: &Handle) -> Result<Vec<ScalarValue>, Status> {
    let Some(row) = handle.row().await? else { return Ok(Vec::new()) };
    let read = || {
        let values = row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
        values.collect::<Result<Vec<_>, _>>()
    };
    // As in the handle: a client chose the columns.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(values) => values.map_err(|error| unread(&error)),
        Err(_) => Err(unread(&CONTRADICTION)),
    }
}
