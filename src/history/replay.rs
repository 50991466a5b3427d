//! Rows of the table in the order of their arrival: what detections are rebuilt from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use tokio::runtime::Builder;

use super::error::HistoryError;
use super::events::scan_files;
use super::file::DataFile;
use super::location::Location;
use super::wide::{places, widened};
use crate::event::lookback::Lookback;

/// The table as it was when it was asked for.
#[derive(Debug)]
pub struct Past {
    pub(super) location: Location,
    pub(super) files: Arc<[DataFile]>,
}

impl Past {
    /// When the last row arrived, microseconds; `None` when there is none. Imported rows do not
    /// count, here and below: their arrival says nothing about when they happened.
    #[must_use]
    pub fn last_arrival(&self) -> Option<i64> {
        self.arrived().map(|file| file.ingest_time.1).max()
    }

    /// True when no row arrived before this.
    #[must_use]
    pub fn begins_after(&self, since: i64) -> bool {
        self.files.iter().all(|file| !file.is_import() && file.ingest_time.0 >= since)
    }

    /// The latest event of each cluster, and its last arrival, microseconds.
    #[must_use]
    pub fn latest(&self) -> BTreeMap<&str, (i64, i64)> {
        let mut latest = BTreeMap::new();
        for file in self.arrived() {
            let of: &mut (i64, i64) =
                latest.entry(file.cluster.as_str()).or_insert((i64::MIN, i64::MIN));
            *of = (of.0.max(file.event_time.1), of.1.max(file.ingest_time.1));
        }
        latest
    }

    /// Gives these rows, in batches with the arrival of their last row; gives their number.
    /// Columns that are not wanted are NULL, unless every row has them.
    /// Files are taken in the order of their first arrivals, each sorted by arrival: rows of
    /// different files can change places only where one flush wrote several, which are of different
    /// clusters or days. Not for use inside an async runtime.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn replay(
        &self,
        lookback: &Lookback,
        wanted: &BTreeSet<String>,
        mut take: impl FnMut(&RecordBatch, i64),
    ) -> Result<u64, HistoryError> {
        let columns = places(wanted);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(DataFusionError::from)?;
        let is_wanted =
            |file: &&DataFile| lookback.has(&file.cluster, file.event_time.1, file.ingest_time.1);
        let mut files: Vec<&DataFile> = self.arrived().filter(is_wanted).collect();
        files.sort_by_key(|file| (file.ingest_time, &file.path));
        let mut replayed = 0;
        for file in files {
            let mut stream = {
                // Plans start tasks.
                let _inside = runtime.enter();
                self.read(file, &columns)?
            };
            // `take` may have a runtime of its own: it is called outside of ours.
            while let Some(batch) = runtime.block_on(stream.next()) {
                let batch = batch?;
                let rows = of(lookback, &file.cluster, &batch)?;
                if let Some(last) = times(&rows, "ingest_time")?.last() {
                    replayed += rows.num_rows() as u64;
                    take(&widened(&rows)?, *last);
                }
            }
        }
        Ok(replayed)
    }

    fn arrived(&self) -> impl Iterator<Item = &DataFile> {
        self.files.iter().filter(|file| !file.is_import())
    }

    /// The rows of a file by arrival.
    fn read(
        &self,
        file: &DataFile,
        columns: &Vec<usize>,
    ) -> Result<SendableRecordBatchStream, HistoryError> {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let store = self.location.store();
        let plan = scan_files(&context.state(), store, &[file], Some(columns), None)?;
        let plan = sorted(plan, &["ingest_time", "event_time", "event_id"])?;
        Ok(execute_stream(plan, context.task_ctx())?)
    }
}

/// The rows of a cluster that are looked back to.
fn of(lookback: &Lookback, cluster: &str, rows: &RecordBatch) -> Result<RecordBatch, HistoryError> {
    let (events, arrivals) = (times(rows, "event_time")?, times(rows, "ingest_time")?);
    let both = events.iter().zip(arrivals);
    let has = both.map(|(event, arrival)| Some(lookback.has(cluster, *event, *arrival)));
    Ok(filter_record_batch(rows, &has.collect())?)
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a [i64], HistoryError> {
    let column = rows.column(rows.schema().index_of(name)?);
    Ok(column.as_primitive::<TimestampMicrosecondType>().values())
}

/// The plan's rows sorted by these columns.
fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    columns: &[&str],
) -> Result<Arc<dyn ExecutionPlan>, HistoryError> {
    Ok(match ordering(&plan, columns)? {
        Some(ordering) => Arc::new(SortExec::new(ordering, plan)),
        None => plan,
    })
}

/// The order by these columns of a plan, smallest first.
pub(super) fn ordering(
    plan: &Arc<dyn ExecutionPlan>,
    columns: &[&str],
) -> Result<Option<LexOrdering>, HistoryError> {
    let schema = plan.schema();
    let by = columns.iter().map(|name| Ok(PhysicalSortExpr::new_default(col(name, &schema)?)));
    Ok(LexOrdering::new(by.collect::<Result<Vec<_>, HistoryError>>()?))
}
