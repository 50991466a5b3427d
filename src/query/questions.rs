//! Who asked what, as a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;

use super::tables::{external, text, texts, time, times};
use crate::findings::questions::{Asked, QuestionLog};
use crate::sql::snapshot::SnapshotTable;

/// The table `questions`, with its name.
pub(crate) fn questions_table(log: &Arc<QuestionLog>) -> (&'static str, Arc<dyn TableProvider>) {
    let log = Arc::clone(log);
    let table = SnapshotTable::new(questions_schema(), move || {
        let asked = log.all().map_err(external)?;
        Ok(vec![RecordBatch::try_new(questions_schema(), columns(&asked))?])
    });
    ("questions", Arc::new(table))
}

/// Columns of `questions`: `outcome` is answered, failed or stopped, NULL while it runs; `error` is
/// why it failed.
fn questions_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::UInt64, true);
    Arc::new(Schema::new(vec![
        time("time"),
        text("client"),
        text("wire"),
        text("query"),
        text("parameters").with_nullable(true),
        number("query_chars"),
        text("outcome").with_nullable(true),
        number("rows"),
        number("micros"),
        text("error").with_nullable(true),
    ]))
}

fn columns(asked: &[Asked]) -> Vec<ArrayRef> {
    let outcomes: StringArray = asked.iter().map(|one| one.outcome.as_deref()).collect();
    let number = |value: fn(&Asked) -> Option<u64>| -> ArrayRef {
        Arc::new(asked.iter().map(value).collect::<UInt64Array>())
    };
    vec![
        times(asked.iter().map(|one| one.at)),
        texts(asked.iter().map(|one| one.client.as_str())),
        texts(asked.iter().map(|one| one.wire.as_str())),
        texts(asked.iter().map(|one| one.query.as_str())),
        Arc::new(asked.iter().map(|one| one.parameters.as_deref()).collect::<StringArray>()),
        number(|one| Some(one.query_chars)),
        Arc::new(outcomes),
        number(|one| one.rows),
        number(|one| one.micros),
        Arc::new(asked.iter().map(|one| one.error.as_deref()).collect::<StringArray>()),
    ]
}
