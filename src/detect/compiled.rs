//! A physical plan that is built once and run again and again over whatever rows it is given.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;

/// A table whose rows are swapped between runs.
#[derive(Debug)]
pub(crate) struct Slot {
    schema: SchemaRef,
    batches: Mutex<Vec<RecordBatch>>,
}

impl Slot {
    pub(crate) fn new(schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { schema, batches: Mutex::default() })
    }

    /// The slot as a table for planning.
    pub(crate) fn table(self: &Arc<Self>) -> Result<Arc<StreamingTable>> {
        let partition: Arc<dyn PartitionStream> = Arc::<Self>::clone(self);
        StreamingTable::try_new(Arc::clone(&self.schema), vec![partition]).map(Arc::new)
    }

    fn put(&self, batches: Vec<RecordBatch>) {
        *self.batches.lock().unwrap_or_else(PoisonError::into_inner) = batches;
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = MemoryStream::try_new(batches, Arc::clone(&self.schema), None)
            .expect("a stream without projection cannot fail");
        Box::pin(stream)
    }
}

/// A plan over a [`Slot`].
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    plan: Arc<dyn ExecutionPlan>,
    slot: Arc<Slot>,
    context: Arc<TaskContext>,
}

impl Compiled {
    /// Optimises and plans `logical`, whose only table is `slot`.
    pub(crate) async fn new(
        context: &SessionContext,
        logical: &LogicalPlan,
        slot: &Arc<Slot>,
    ) -> Result<Self> {
        let plan = context.state().create_physical_plan(logical).await?;
        Ok(Self { plan, slot: Arc::clone(slot), context: context.task_ctx() })
    }

    /// Runs over exactly these rows.
    pub(crate) async fn run(&self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        self.slot.put(batches);
        let result = match reset_plan_states(Arc::clone(&self.plan)) {
            Ok(plan) => collect(plan, Arc::clone(&self.context)).await,
            Err(error) => Err(error),
        };
        self.slot.put(Vec::new());
        result
    }
}
