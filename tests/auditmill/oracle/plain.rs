//! Plain DataFusion: a query over a set of events.

use std::sync::{Arc, Mutex};

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, SchemaRef, TimestampMicrosecondType};
use auditmill::detect::evidence::EventRef;
use auditmill::detect::value::Value;
use auditmill::event::schema::events_schema;
use auditmill::sql::context::session;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use tokio::runtime::{Builder, Runtime};

/// All events of a story, each once.
pub(super) struct Events {
    pub(super) rows: RecordBatch,
    /// What evidence says of each.
    pub(super) refs: Vec<EventRef>,
    pub(super) clusters: Vec<String>,
}

impl Events {
    pub(super) fn of(rows: RecordBatch) -> Self {
        let column = |name: &str| rows.column_by_name(name).unwrap();
        let times = column("event_time").as_primitive::<TimestampMicrosecondType>();
        let (ids, audit_ids) =
            (column("event_id").as_string_view(), column("audit_id").as_string_view());
        let names = column("cluster").as_dictionary::<Int32Type>();
        let names = names.downcast_dict::<arrow::array::StringArray>().unwrap();
        let reference = |row: usize| EventRef {
            event_time: times.value(row),
            event_id: ids.value(row).to_owned(),
            audit_id: audit_ids.is_valid(row).then(|| audit_ids.value(row).to_owned()),
        };
        let refs = (0..rows.num_rows()).map(reference).collect();
        let clusters = names.into_iter().map(|name| name.unwrap().to_owned()).collect();
        Self { rows, refs, clusters }
    }

    pub(super) fn len(&self) -> usize {
        self.refs.len()
    }

    pub(super) fn time(&self, event: usize) -> i64 {
        self.refs[event].event_time
    }

    /// The rows of some of them.
    pub(super) fn pick(&self, events: &[usize]) -> RecordBatch {
        let rows = events.iter().map(|row| u32::try_from(*row).unwrap());
        take_record_batch(&self.rows, &UInt32Array::from_iter_values(rows)).unwrap()
    }
}

/// One row of a query's result: column names and values.
pub(super) type Row = Vec<(String, Value)>;

/// A query that is read once and run over many sets of events.
pub(super) struct Plain {
    runtime: Runtime,
    context: SessionContext,
    plan: LogicalPlan,
    table: Arc<Table>,
}

impl Plain {
    pub(super) fn new(query: &str) -> Self {
        let runtime = Builder::new_current_thread().build().unwrap();
        let table = Arc::new(Table { schema: events_schema(), rows: Mutex::default() });
        let context = session().unwrap();
        // `IS NOT TRUE` is never NULL, which DataFusion's physical expression does not know: the
        // check refuses aggregates over it once it has become a column.
        let state = context.state_ref();
        state.write().config_mut().options_mut().execution.skip_physical_aggregate_schema_check =
            true;
        let events = StreamingTable::try_new(events_schema(), vec![Arc::clone(&table) as _]);
        context.register_table("events", Arc::new(events.unwrap())).unwrap();
        let state = context.state();
        let plan = runtime.block_on(state.create_logical_plan(query));
        let plan = plan.unwrap_or_else(|error| panic!("{error}\n{query}"));
        let plan = state.optimize(&plan).unwrap();
        Self { runtime, context, plan, table }
    }

    /// The rows of the result over just these events.
    pub(super) fn run(&self, events: RecordBatch) -> Vec<Row> {
        *self.table.rows.lock().unwrap() = vec![events];
        let results = self.runtime.block_on(async {
            let state = self.context.state();
            let plan = state.query_planner().create_physical_plan(&self.plan, &state).await?;
            collect(plan, self.context.task_ctx()).await
        });
        let results =
            results.unwrap_or_else(|error| panic!("{error}\n{}", self.plan.display_indent()));
        let named = |batch: &RecordBatch, row: usize| {
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().clone());
            names.zip(Value::row(batch, row)).collect()
        };
        let rows = results.iter().map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
        rows.flatten().map(|(batch, row)| named(batch, row)).collect()
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
        let rows = self.rows.lock().unwrap().clone();
        Box::pin(MemoryStream::try_new(rows, Arc::clone(&self.schema), None).unwrap())
    }
}
