//! The table `events_per_minute`.
//!
//! Promise: its rows are what `SELECT date_trunc('minute', event_time), cluster, ..., count(*)
//! FROM events GROUP BY ...` says at the same moment; a minute, a cluster and what else tells
//! kinds apart may have several rows, one of each file, so that counts are to be added up. It is a
//! function of the files and of what is in memory, so nothing has to be kept in step with them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::MemTable;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt as _;
use object_store::ObjectStore;

use super::footer;
use super::tally::{READ, TEXTS, Tally, schema};
use crate::event::schema::events_schema;
use crate::history::error::HistoryError;
use crate::history::events::{keep_relevant, scan_files};
use crate::history::file::DataFile;
use crate::history::hot::{Hot, Kept};
use crate::history::location::Location;

/// Rows of counts that are kept in memory, of files that were asked for.
const ROWS_KEPT: usize = 2 << 20;

/// How many events of each kind there were in each minute.
pub struct MinutesTable {
    hot: Arc<Hot>,
    store: Arc<dyn ObjectStore>,
    /// Counts of files, which never change.
    known: Mutex<HashMap<String, RecordBatch>>,
}

impl MinutesTable {
    /// A table over rows in memory and the files of a place.
    #[must_use]
    pub fn new(hot: Arc<Hot>, location: &Location) -> Self {
        Self { hot, store: Arc::clone(location.store()), known: Mutex::default() }
    }

    /// The counts of a file: known, from its footer, or counted now.
    async fn of_file(&self, state: &dyn Session, file: &DataFile) -> Result<RecordBatch> {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&file.path).cloned();
        if let Some(counts) = known {
            return Ok(counts);
        }
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let meta = PartitionedFile::new(file.path.clone(), file.bytes).object_meta;
        let metadata = DFParquetMetadata::new(self.store.as_ref(), &meta)
            .with_file_metadata_cache(Some(cache))
            .fetch_metadata()
            .await?;
        let counts = match footer::read(&metadata) {
            Some(counts) => counts,
            // It was written before there were counts.
            None => self.counted(state, file).await?,
        };
        let counts = of_cluster(&counts, &file.cluster)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: usize = known.values().map(RecordBatch::num_rows).sum();
        if rows + counts.num_rows() > ROWS_KEPT {
            // Files that went are among them, and nobody knows which.
            known.clear();
        }
        known.insert(file.path.clone(), counts.clone());
        Ok(counts)
    }

    async fn counted(&self, state: &dyn Session, file: &DataFile) -> Result<RecordBatch> {
        let events = events_schema();
        let columns =
            READ.iter().map(|name| events.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let plan = scan_files(state, &self.store, &[file], Some(&columns), None)?;
        let mut rows = execute_stream(plan, state.task_ctx())?;
        let mut tally = Tally::default();
        while let Some(batch) = rows.try_next().await? {
            tally.add(&batch)?;
        }
        Ok(tally.rows()?)
    }
}

impl fmt::Debug for MinutesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MinutesTable").finish_non_exhaustive()
    }
}

/// The same counts, of this cluster: a file does not name its own.
fn of_cluster(counts: &RecordBatch, cluster: &str) -> Result<RecordBatch> {
    let at = counts.schema().index_of(TEXTS[0])?;
    let clusters: ArrayRef =
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(cluster, counts.num_rows())));
    let columns = counts.columns().iter().enumerate();
    let columns =
        columns.map(|(place, column)| Arc::clone(if place == at { &clusters } else { column }));
    Ok(RecordBatch::try_new(counts.schema(), columns.collect())?)
}

#[async_trait::async_trait]
impl TableProvider for MinutesTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !self.hot.is_opened() {
            return Err(DataFusionError::External(Box::new(HistoryError::NotOpen)));
        }
        let Kept { batches, files } = self.hot.kept();
        let mut tally = Tally::default();
        for batch in &batches {
            tally.add(batch)?;
        }
        let mut counts = vec![tally.rows()?];
        for file in keep_relevant(state, &files, filters, &schema())? {
            counts.push(self.of_file(state, file).await?);
        }
        let table = MemTable::try_new(self.schema(), vec![counts])?;
        table.scan(state, projection, &[], limit).await
    }
}
