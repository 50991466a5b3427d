//! Repeats that came later than the horizon of repeats reaches: an event whose time is long past
//! may be in a file already. Such rows are looked up on their way into files.

use std::collections::HashSet;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;

use super::error::HistoryError;
use super::events::scan_files;
use super::file::DataFile;
use super::location::Location;
use crate::event::schema::events_schema;

/// The rows, all of one cluster, that no file has. Looked up are those whose time lies further
/// before their arrival than `span` microseconds.
pub(super) async fn without_known(
    location: &Location,
    files: &[DataFile],
    cluster: &str,
    rows: RecordBatch,
    span: i64,
) -> Result<RecordBatch, HistoryError> {
    let schema = rows.schema();
    let times = |name: &str| {
        let column = rows.column(schema.index_of(name)?);
        Ok::<_, HistoryError>(column.as_primitive::<TimestampMicrosecondType>().values())
    };
    let (event_times, arrivals) = (times("event_time")?, times("ingest_time")?);
    let ids = rows.column(schema.index_of("event_id")?).as_string_view();
    let mut late: HashSet<&str> = HashSet::new();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for ((id, time), arrival) in ids.iter().zip(event_times).zip(arrivals) {
        if let Some(id) = id.filter(|_| arrival.saturating_sub(*time) > span) {
            late.insert(id);
            (first, last) = (first.min(*time), last.max(*time));
        }
    }
    if late.is_empty() {
        return Ok(rows);
    }
    let overlaps = |file: &&DataFile| {
        file.cluster == cluster && file.event_time.0 <= last && first <= file.event_time.1
    };
    let files: Vec<&DataFile> = files.iter().filter(overlaps).collect();
    let known = known(location, &files, &late).await?;
    // A flush of more rows than the horizon counts can hold both of a pair.
    let mut kept: HashSet<&str> = HashSet::new();
    let keep: BooleanArray = ids
        .iter()
        .map(|id| Some(id.is_none_or(|id| !known.contains(id) && kept.insert(id))))
        .collect();
    Ok(filter_record_batch(&rows, &keep)?)
}

/// Which of the ids files have.
async fn known(
    location: &Location,
    files: &[&DataFile],
    ids: &HashSet<&str>,
) -> Result<HashSet<String>, HistoryError> {
    let mut known = HashSet::new();
    if !files.is_empty() {
        let note = |id: &str| {
            if ids.contains(id) {
                known.insert(id.to_owned());
            }
        };
        each_id(location, files, note).await?;
    }
    Ok(known)
}

/// Tells of each event's id in these files, at least one.
pub(super) async fn each_id(
    location: &Location,
    files: &[&DataFile],
    mut tell: impl FnMut(&str),
) -> Result<(), HistoryError> {
    let config = SessionConfig::new().with_target_partitions(1);
    let context = SessionContext::new_with_config(config);
    let column = vec![events_schema().index_of("event_id")?];
    let plan = scan_files(&context.state(), location.store(), files, Some(&column), None)?;
    let mut ids = execute_stream(plan, context.task_ctx())?;
    while let Some(batch) = ids.next().await {
        batch?.column(0).as_string_view().iter().flatten().for_each(&mut tell);
    }
    Ok(())
}
