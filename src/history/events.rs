//! The table `events`: rows in memory and in files as one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::MemTable;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{col, lit};
use object_store::ObjectStore;

use super::encode::{ROW, SEGMENT, file_schema, stored_schema};
use super::file::DataFile;
use super::hot::{Hot, Kept};
use super::location::Location;
use crate::event::schema::events_schema;

const MINUTE: i64 = 60_000_000;

/// The name under which sessions find the files.
const STORE: &str = "history://events";

/// Everything that is kept of events, as one table.
pub struct EventsTable {
    hot: Arc<Hot>,
    store: Arc<dyn ObjectStore>,
    imports: bool,
}

impl EventsTable {
    /// A table over rows in memory and the files of a place.
    #[must_use]
    pub fn new(hot: Arc<Hot>, location: &Location) -> Self {
        Self { hot, store: Arc::clone(location.store()), imports: true }
    }

    /// The same without imported rows: they came from old logs, and are no news.
    #[must_use]
    pub fn without_imports(self) -> Self {
        Self { imports: false, ..self }
    }
}

impl fmt::Debug for EventsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsTable").field("hot", &self.hot.size()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for EventsTable {
    fn schema(&self) -> SchemaRef {
        events_schema()
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
        let mut files = keep_relevant(state, &files, filters, &self.schema())?;
        files.retain(|file| self.imports || !file.is_import());
        let hot = MemTable::try_new(self.schema(), vec![batches])?;
        let hot = hot.scan(state, projection, &[], limit).await?;
        if files.is_empty() {
            return Ok(hot);
        }
        let cold = scan_files(state, &self.store, &files, projection, limit)?;
        UnionExec::try_new(vec![hot, cold])
    }
}

/// A plan that reads these files, with the columns of the events table.
pub(super) fn scan_files(
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[&DataFile],
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let events = events_schema();
    let name = |index: usize| events.fields().get(index).map(|field| field.name().as_str());
    let columns: Vec<&str> = match projection {
        Some(projection) => projection.iter().filter_map(|index| name(*index)).collect(),
        None => (0..events.fields().len()).filter_map(name).collect(),
    };
    scan_columns(state, store, files, &file_schema(), &columns, limit, None)
}

/// A plan that reads these files whole: the columns of the events table, then with which commit
/// each row came, and its number and mark there.
pub(super) fn scan_stored(
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[&DataFile],
) -> Result<Arc<dyn ExecutionPlan>> {
    let events = events_schema();
    let columns = events.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = columns.chain([SEGMENT, ROW]).collect();
    scan_columns(state, store, files, &stored_schema(), &columns, None, None)
}

/// A plan that reads of these files the ids of events with what is beside them, and passes over row
/// groups that have none of these ids; other rows come too.
pub(super) fn scan_ids(
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[&DataFile],
    ids: &BTreeSet<&str>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = stored_schema();
    let ids = ids.iter().map(|id| lit(ScalarValue::Utf8View(Some((*id).to_owned()))));
    let wanted = col("event_id").in_list(ids.collect(), false);
    let wanted = state.create_physical_expr(wanted, &DFSchema::try_from(Arc::clone(&schema))?)?;
    let columns = ["event_id", SEGMENT, ROW];
    scan_columns(state, store, files, &schema, &columns, None, Some(wanted))
}

/// A plan that reads columns of files that have these, and the cluster; row groups that have no
/// row which is `wanted` are passed over.
fn scan_columns(
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[&DataFile],
    schema: &SchemaRef,
    columns: &[&str],
    limit: Option<usize>,
    wanted: Option<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let url = ObjectStoreUrl::parse(STORE)?;
    let runtime = state.runtime_env();
    runtime.register_object_store(url.as_ref(), Arc::clone(store));
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let factory = CachedParquetFileReaderFactory::new(Arc::clone(store), cache);
    let cluster = Arc::new(events_schema().field_with_name("cluster")?.clone());
    let table =
        TableSchema::builder(Arc::clone(schema)).with_table_partition_cols(vec![cluster]).build();
    let options = TableParquetOptions {
        global: state.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    };
    let source = ParquetSource::new(table.clone())
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(factory));
    let source = match wanted {
        Some(wanted) => source.with_predicate(wanted),
        None => source,
    };
    // The files' columns come first, the cluster last.
    let table_schema = table.table_schema();
    let place = |name: &&str| Ok(table_schema.index_of(name)?);
    let indices = columns.iter().map(place).collect::<Result<Vec<_>>>()?;
    let partitions = state.config().target_partitions().max(1);
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups(files, partitions, schema))
        .with_projection_indices(Some(indices))?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// Files in so many groups of about the same size.
fn groups(files: &[&DataFile], partitions: usize, schema: &SchemaRef) -> Vec<FileGroup> {
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); partitions];
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.bytes;
            group.push(partitioned(file, schema));
        }
    }
    let used = groups.into_iter().filter(|(_, group)| !group.is_empty());
    used.map(|(_, group)| FileGroup::new(group)).collect()
}

fn partitioned(file: &DataFile, schema: &SchemaRef) -> PartitionedFile {
    let cluster = ScalarValue::Dictionary(
        Box::new(DataType::Int32),
        Box::new(ScalarValue::Utf8(Some(file.cluster.clone()))),
    );
    let rows = usize::try_from(file.rows).unwrap_or(usize::MAX);
    let statistics =
        Statistics { num_rows: Precision::Exact(rows), ..Statistics::new_unknown(schema) };
    PartitionedFile::new(file.path.clone(), file.bytes)
        .with_partition_values(vec![cluster])
        .with_statistics(Arc::new(statistics))
}

/// The files that can have rows which the filters let through; the filters are of a table with this
/// schema.
pub(super) fn keep_relevant<'a>(
    state: &dyn Session,
    files: &'a [DataFile],
    filters: &[Expr],
    schema: &SchemaRef,
) -> Result<Vec<&'a DataFile>> {
    let all = || files.iter().collect();
    let Some(filter) = conjunction(filters.to_vec()) else { return Ok(all()) };
    let columns = DFSchema::try_from(Arc::clone(schema))?;
    let filter = state.create_physical_expr(filter, &columns)?;
    // What cannot be told from statistics keeps every file.
    let Ok(predicate) = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(schema))
        // Who sees many clusters names them all.
        .with_max_in_list_size(usize::MAX)
        .try_build(filter)
    else {
        return Ok(all());
    };
    let keep = predicate.prune(&Extents { files, schema })?;
    Ok(files.iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
}

/// What the log knows of each file.
struct Extents<'a> {
    files: &'a [DataFile],
    /// Of the table that is asked.
    schema: &'a SchemaRef,
}

impl Extents<'_> {
    fn values(&self, column: &str, end: fn(&(i64, i64)) -> i64) -> Option<ArrayRef> {
        let times = |of: fn(&DataFile) -> &(i64, i64)| -> ArrayRef {
            let values = self.files.iter().map(|file| end(of(file)));
            Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
        };
        match column {
            "event_time" => Some(times(|file| &file.event_time)),
            "minute" => {
                let minute = |file: &DataFile| end(&file.event_time).div_euclid(MINUTE) * MINUTE;
                let values = self.files.iter().map(minute);
                let values = TimestampMicrosecondArray::from_iter_values(values);
                Some(Arc::new(values.with_timezone("UTC")))
            }
            "ingest_time" => Some(times(|file| &file.ingest_time)),
            "cluster" => {
                let names = self.files.iter().map(|file| Some(file.cluster.as_str()));
                let names: ArrayRef = Arc::new(names.collect::<StringArray>());
                let wanted = self.schema.field_with_name("cluster").ok()?.data_type();
                arrow::compute::cast(&names, wanted).ok()
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Extents<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(&column.name, |extent| extent.0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(&column.name, |extent| extent.1)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(
        &self,
        _: &Column,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<arrow::array::BooleanArray> {
        None
    }
}
