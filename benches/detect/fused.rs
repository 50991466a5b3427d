//! The bar: all conditions as one projection of plain DataFusion.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::SchemaRef;
use auditmill::event::schema::events_schema;
use auditmill::sql::context::session;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use tokio::runtime::{Builder, Runtime};

use super::load::{BATCHES, Load, ROWS};
use super::mix::Mixed;

/// One column of truth a condition.
pub(crate) struct Fused {
    runtime: Runtime,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    table: Arc<Table>,
}

impl Fused {
    pub(crate) fn new(detections: &[Mixed]) -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let table = Arc::new(Table { schema: events_schema(), rows: Mutex::default() });
        let context = session().expect("a session");
        let partition: Arc<dyn PartitionStream> = Arc::clone(&table) as _;
        let events = StreamingTable::try_new(events_schema(), vec![partition]).expect("a table");
        context.register_table("events", Arc::new(events)).expect("a name that is free");
        let conditions =
            detections.iter().map(|mixed| format!("({}) AS \"{}\"", mixed.filter, mixed.id));
        let query = format!("SELECT {} FROM events", conditions.collect::<Vec<_>>().join(", "));
        let plan = runtime.block_on(async {
            let query = context.sql(&query).await.expect("conditions are right");
            query.create_physical_plan().await.expect("a plan")
        });
        Self { runtime, plan, context: context.task_ctx(), table }
    }

    fn run(&self, batch: &RecordBatch) -> Vec<RecordBatch> {
        *self.table.rows.lock().unwrap_or_else(PoisonError::into_inner) = vec![batch.clone()];
        let plan = reset_plan_states(Arc::clone(&self.plan)).expect("a plan that runs again");
        self.runtime.block_on(collect(plan, Arc::clone(&self.context))).expect("an answer")
    }

    /// For which share of all events each condition holds, ascending.
    pub(crate) fn shares(&self, load: &Load) -> Vec<f64> {
        let mut held = vec![0; self.plan.schema().fields().len()];
        for result in load.all().iter().flat_map(|batch| self.run(batch)) {
            for (held, column) in held.iter_mut().zip(result.columns()) {
                *held += column.as_boolean().true_count();
            }
        }
        held.sort_unstable();
        let events = BATCHES * ROWS;
        held.into_iter().map(|held| held as f64 / events as f64).collect()
    }

    /// Seconds an event.
    pub(crate) fn measure(&self, load: &Load, seconds: Duration) -> f64 {
        let (started, worked) = (Instant::now(), ThreadTime::now());
        let (mut events, mut rounds) = (0, 0);
        while rounds == 0 || started.elapsed() < seconds {
            for batch in load.all() {
                let results = self.run(batch);
                assert_eq!(results.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS);
                events += batch.num_rows();
            }
            rounds += 1;
        }
        worked.elapsed().as_secs_f64() / events as f64
    }
}

/// The events table of the moment.
#[derive(Debug)]
struct Table {
    schema: SchemaRef,
    rows: Mutex<Vec<RecordBatch>>,
}

impl PartitionStream for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = MemoryStream::try_new(rows, Arc::clone(&self.schema), None);
        Box::pin(stream.expect("no projection"))
    }
}
