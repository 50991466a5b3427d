//! The table `events_per_minute`.
//!
//! Promise: its rows are what `SELECT date_trunc('minute', event_time), cluster, ..., count(*)
//! FROM events GROUP BY ...` says at the same moment; a minute, a cluster and what else tells kinds
//! apart may have several rows, one of each file, so that counts are to be added up. It is a
//! function of the files and of what is in memory, so nothing has to be kept in step with them.
//! Files are looked at one after the other while rows are asked for, and no two questions count the
//! same file at the same time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore;
use tokio::sync::OnceCell;

use super::footer;
use super::tally::{READ, TEXTS, Tally, schema};
use crate::event::schema::events_schema;
use crate::history::events::{keep_relevant, scan_files};
use crate::history::file::DataFile;
use crate::history::hot::{Hot, Kept};
use crate::history::location::Location;

/// Rows of counts that are kept in memory, of files that were asked for; a row takes about 50
/// bytes.
const ROWS_KEPT: usize = 1 << 20;

/// How many events of each kind there were in each minute.
pub struct MinutesTable {
    hot: Arc<Hot>,
    counts: Arc<Counts>,
}

impl MinutesTable {
    /// A table over rows in memory and the files of a place.
    #[must_use]
    pub fn new(hot: Arc<Hot>, location: &Location) -> Self {
        let counts = Counts { store: Arc::clone(location.store()), known: Mutex::default() };
        Self { hot, counts: Arc::new(counts) }
    }
}

impl fmt::Debug for MinutesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MinutesTable").finish_non_exhaustive()
    }
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
        let kept = self.hot.asked();
        let Kept { batches, files } =
            kept.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let files = keep_relevant(state, &files, filters, &schema())?;
        let minutes = Minutes {
            schema: schema(),
            batches,
            files: files.into_iter().cloned().collect(),
            counts: Arc::clone(&self.counts),
        };
        let minutes = vec![Arc::new(minutes) as Arc<dyn PartitionStream>];
        let plan = StreamingTableExec::try_new(schema(), minutes, projection, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// What one question is about.
#[derive(Debug)]
struct Minutes {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    files: Vec<DataFile>,
    counts: Arc<Counts>,
}

impl PartitionStream for Minutes {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.clone();
        let hot = stream::once(async move {
            let mut tally = Tally::default();
            for batch in &batches {
                tally.add(batch)?;
            }
            Ok(tally.rows()?)
        });
        let counts = Arc::clone(&self.counts);
        let files = stream::iter(self.files.clone()).then(move |file| {
            let (counts, context) = (Arc::clone(&counts), Arc::clone(&context));
            async move { counts.of_file(&context, &file).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), hot.chain(files)))
    }
}

/// Counts of files, which never change.
struct Counts {
    store: Arc<dyn ObjectStore>,
    known: Mutex<HashMap<String, Arc<OnceCell<RecordBatch>>>>,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl Counts {
    /// The counts of a file: known, from its footer, or counted now.
    async fn of_file(&self, context: &Arc<TaskContext>, file: &DataFile) -> Result<RecordBatch> {
        let counts = self.cell(&file.path);
        counts.get_or_try_init(|| self.read(context, file)).await.cloned()
    }

    /// Where a file's counts are, or will be.
    fn cell(&self, path: &str) -> Arc<OnceCell<RecordBatch>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = |cell: &Arc<OnceCell<RecordBatch>>| cell.get().map_or(0, RecordBatch::num_rows);
        if !known.contains_key(path) && known.values().map(rows).sum::<usize>() > ROWS_KEPT {
            // Files that are gone are among them, and nobody knows which. What is being counted
            // stays.
            known.retain(|_, cell| cell.get().is_none());
        }
        Arc::clone(known.entry(path.to_owned()).or_default())
    }

    async fn read(&self, context: &Arc<TaskContext>, file: &DataFile) -> Result<RecordBatch> {
        let cache = context.runtime_env().cache_manager.get_file_metadata_cache();
        let meta = PartitionedFile::new(file.path.clone(), file.bytes).object_meta;
        let metadata = DFParquetMetadata::new(self.store.as_ref(), &meta)
            .with_file_metadata_cache(Some(cache))
            .fetch_metadata()
            .await?;
        let counts = match footer::read(&metadata) {
            Some(counts) => counts,
            // It was written before there were counts.
            None => self.counted(context, file).await?,
        };
        of_cluster(&counts, &file.cluster)
    }

    async fn counted(&self, context: &Arc<TaskContext>, file: &DataFile) -> Result<RecordBatch> {
        let events = events_schema();
        let columns: Vec<usize> =
            READ.iter().map(|name| events.index_of(name)).collect::<Result<_, _>>()?;
        let config = context.session_config().clone();
        let session = SessionContext::new_with_config_rt(config, context.runtime_env());
        let plan = scan_files(&session.state(), &self.store, &[file], Some(&columns), None)?;
        let mut rows = execute_stream(plan, Arc::clone(context))?;
        let mut tally = Tally::default();
        while let Some(batch) = rows.try_next().await? {
            tally.add(&batch)?;
        }
        Ok(tally.rows()?)
    }
}

/// The same counts, of this cluster: a file does not name its own.
fn of_cluster(counts: &RecordBatch, cluster: &str) -> Result<RecordBatch> {
    let at = counts.schema().index_of(TEXTS[0])?;
    let name: ArrayRef = Arc::new(StringArray::from(vec![cluster]));
    let keys = Int32Array::from(vec![0; counts.num_rows()]);
    let clusters: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, name)?);
    let columns = counts.columns().iter().enumerate();
    let columns =
        columns.map(|(place, column)| Arc::clone(if place == at { &clusters } else { column }));
    Ok(RecordBatch::try_new(counts.schema(), columns.collect())?)
}
