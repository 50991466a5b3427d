//! A table whose rows are whatever they are at the moment a query is planned.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

type Rows = dyn Fn() -> Result<Vec<RecordBatch>> + Send + Sync;

/// A read-only table over a function that gives its rows.
pub struct SnapshotTable {
    schema: SchemaRef,
    rows: Box<Rows>,
}

impl SnapshotTable {
    /// `rows` is called once per scan; its batches have this schema.
    pub fn new(
        schema: SchemaRef,
        rows: impl Fn() -> Result<Vec<RecordBatch>> + Send + Sync + 'static,
    ) -> Self {
        Self { schema, rows: Box::new(rows) }
    }
}

impl fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotTable").field("schema", &self.schema).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = MemTable::try_new(self.schema(), vec![(self.rows)()?])?;
        table.scan(state, projection, filters, limit).await
    }
}
