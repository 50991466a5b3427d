//! A step of a plan that watches what passes it: batches that grew out of bounds, and rows that
//! the step above holds without counting them. It gives way while it does, so that a query can be
//! stopped.
//!
//! Operators count the memory that they hold against the session's limit, but for windows
//! (`OVER`): they gather their input uncounted. Projections make batches of any size: `a || a`
//! doubles one, and a chain of them does it again and again.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::RecordBatch;
use datafusion::common::exec_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::StreamExt as _;

use super::functions::bounded::content_bytes;

/// No batch that passes is larger.
const BATCH_BYTES_MAX: u64 = 256 << 20;

/// After so many batches it gives way. The engine does so after 128: too many when each is a join's
/// and the step above works hard on it.
const BATCHES_PER_TURN: usize = 4;

/// What is held is joined before it is used, and there twice then.
const COPIES_HELD: u64 = 2;

/// What a row takes beside its values, about.
const ROW_BYTES: u64 = 16;

/// Hands on what its input gives, as long as it is within bounds.
#[derive(Debug)]
pub(super) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    holds: bool,
}

impl GuardExec {
    /// Refuses batches that are too large, and gives way between them.
    pub(super) fn of_batches(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, holds: false }
    }

    /// Counts all that has passed as held, until the query ends.
    pub(super) fn of_held_rows(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, holds: true }
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardExec: {}", if self.holds { "held rows" } else { "batches" })
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return Ok(self) };
        Ok(Arc::new(Self { input, holds: self.holds }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new("rows of a window");
        let held = self.holds.then(|| consumer.register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let mut passed = 0_usize;
        let checked = input.then(move |batch| {
            passed = passed.wrapping_add(1);
            let gives_way = passed.is_multiple_of(BATCHES_PER_TURN);
            let batch = batch.and_then(|batch| checked(batch, held.as_ref()));
            async move {
                if gives_way {
                    give_way().await;
                }
                batch
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
    }
}

/// Lets others run, and who runs this notice that it is to stop.
async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn checked(batch: RecordBatch, held: Option<&MemoryReservation>) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(content_bytes);
    let bytes = columns.fold(0_u64, u64::saturating_add);
    if bytes > BATCH_BYTES_MAX {
        let rows = batch.num_rows();
        return exec_err!(
            "{rows} rows of {bytes} bytes, more than the {BATCH_BYTES_MAX} that are worked on at \
             once: make smaller texts or lists"
        );
    }
    if let Some(held) = held {
        let rows = ROW_BYTES.saturating_mul(batch.num_rows() as u64);
        let bytes = bytes.saturating_add(rows).saturating_mul(COPIES_HELD);
        held.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    Ok(batch)
}
