//! Rows of which only some columns are read, in the form of the whole table: bodies are most of the
//! bytes, and who asks for the rest need not wait for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::error::ArrowError;

use crate::event::schema::{COLUMNS, events_schema};

/// The columns to read, by position, ascending: those that are wanted and those that every row has.
pub(super) fn places(wanted: &BTreeSet<String>) -> Vec<usize> {
    let is_read = |name: &str, required: bool| required || wanted.contains(name);
    let columns = COLUMNS.iter().enumerate();
    let read = columns.filter(|(_, column)| is_read(column.name, column.required));
    read.map(|(place, _)| place).collect()
}

/// The names of [`places`].
pub(super) fn names(wanted: &BTreeSet<String>) -> Vec<&'static str> {
    let name = |place: usize| COLUMNS.get(place).map(|column| column.name);
    places(wanted).into_iter().filter_map(name).collect()
}

/// The rows with all columns of the table, in their order; what was not read is NULL.
pub(super) fn widened(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = events_schema();
    let column = |name: &str| rows.column_by_name(name).cloned();
    let columns = schema.fields().iter().map(|field| {
        column(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventRow, Rows};

    #[test]
    fn what_was_not_read_is_null_and_the_rest_is_as_it_was() {
        let mut rows = Rows::new();
        let row = EventRow {
            cluster: "c",
            event_id: "00",
            verb: Some("get"),
            request_object: Some("{}"),
            source: "test",
            ..EventRow::default()
        };
        rows.push(&row);
        let whole = rows.finish();
        let wanted = BTreeSet::from(["verb".to_owned()]);
        let narrow = whole.project(&places(&wanted)).unwrap();
        assert_eq!(narrow.num_columns(), names(&wanted).len());
        let wide = widened(&narrow).unwrap();
        assert_eq!(wide.schema(), whole.schema());
        assert_eq!(wide.column_by_name("verb"), whole.column_by_name("verb"));
        assert_eq!(wide.column_by_name("event_id"), whole.column_by_name("event_id"));
        assert_eq!(wide.column_by_name("request_object").unwrap().null_count(), 1);
    }
}
