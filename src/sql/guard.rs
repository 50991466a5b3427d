//! A step of a plan that watches what passes it: batches that grew out of bounds, rows that the
//! step above holds without counting them, and rows too wide to be repeated. It gives way while it
//! does, so that a query can be stopped.
//!
//! Operators count the memory that they hold against the session's limit, but for windows
//! (`OVER`): they gather their input uncounted. Projections make batches of any size: `a || a`
//! doubles one, and a chain of them does it again and again. Joins write a row again for each that
//! it is joined with.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::{Array, AsArray as _, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt as _, stream};

use super::functions::bounded::content_bytes;
use super::meter::Meter;

/// The engine's batches have so many rows.
pub(super) const BATCH_ROWS: usize = 8_192;

/// After so many batches it gives way. The engine does so after 128: too many when each is a join's
/// and the step above works hard on it.
const BATCHES_PER_TURN: usize = 4;

/// What is held is joined before it is used, and there twice then.
const COPIES_HELD: u64 = 2;

/// What a row takes beside its values, about.
const ROW_BYTES: u64 = 16;

/// What becomes of the rows that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// They go on batch by batch.
    Batches,
    /// The step above holds them until the query ends: they are counted.
    Held,
    /// The step above writes them again and again: they must not be wide.
    Repeated,
}

/// Hands on what its input gives, as long as it is within bounds.
#[derive(Clone, Debug)]
pub(super) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    watch: Watch,
    bytes_max: u64,
    rows_max: Option<usize>,
}

impl GuardExec {
    /// Refuses batches that are larger than this, and gives way between them.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, watch: Watch, bytes_max: u64) -> Self {
        Self { input, watch, bytes_max, rows_max: None }
    }

    /// Hands on at most so many rows at a time.
    pub(super) fn in_slices(self, rows_max: Option<usize>) -> Self {
        Self { rows_max, ..self }
    }

    fn check(&self, batch: &RecordBatch, held: Option<&MemoryReservation>) -> Result<()> {
        let (bytes, rows) = (batch_bytes(batch), batch.num_rows());
        if bytes > self.bytes_max {
            return exec_err!(
                "{rows} rows of {bytes} bytes, more than the {} that are worked on at once: make \
                 smaller texts or lists",
                self.bytes_max
            );
        }
        if self.watch == Watch::Repeated {
            let columns = batch.columns().iter().map(|column| copied_bytes(column.as_ref()));
            let width = columns.fold(0_u64, u64::saturating_add);
            if width.saturating_mul(BATCH_ROWS as u64) > self.bytes_max {
                return exec_err!(
                    "rows of up to {width} bytes are too wide to be joined: make smaller texts or \
                     lists, or make them after the join"
                );
            }
        }
        if let Some(held) = held {
            let rows = ROW_BYTES.saturating_mul(rows as u64);
            let bytes = bytes.saturating_add(rows).saturating_mul(COPIES_HELD);
            held.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watch = match self.watch {
            Watch::Batches => "batches",
            Watch::Held => "held rows",
            Watch::Repeated => "repeated rows",
        };
        write!(f, "GuardExec: {watch}")
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
        Ok(Arc::new(Self { input, ..Self::clone(&self) }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new("rows of a window");
        let holds = self.watch == Watch::Held;
        let held = holds.then(|| consumer.register(context.memory_pool()));
        let meter = context.session_config().get_extension::<Meter>();
        let mut input = self.input.execute(partition, context)?;
        let schema = input.schema();
        // What the steps below have made by the time they give a batch, or wait, is in the batch,
        // or held and counted by them.
        let input = stream::poll_fn(move |context| {
            let polled = input.poll_next_unpin(context);
            if let Some(meter) = &meter {
                meter.give_back();
            }
            polled
        });
        let (guard, mut passed) = (self.clone(), 0_usize);
        let checked = input.then(move |batch| {
            passed = passed.wrapping_add(1);
            let gives_way = passed.is_multiple_of(BATCHES_PER_TURN);
            let batch = batch.and_then(|batch| {
                guard.check(&batch, held.as_ref())?;
                Ok(batch)
            });
            async move {
                if gives_way {
                    give_way().await;
                }
                batch
            }
        });
        let Some(rows_max) = self.rows_max else {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)));
        };
        let sliced = checked.flat_map(move |batch| stream::iter(slices(batch, rows_max)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, sliced)))
    }
}

/// The batch in pieces of so many rows.
fn slices(
    batch: Result<RecordBatch>,
    rows_max: usize,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let (batch, error) = match batch {
        Ok(batch) => (Some(batch), None),
        Err(error) => (None, Some(Err(error))),
    };
    let pieces = batch.into_iter().flat_map(move |batch| {
        let rows = batch.num_rows();
        (0..rows)
            .step_by(rows_max.max(1))
            .map(move |from| Ok(batch.slice(from, rows_max.min(rows - from))))
    });
    error.into_iter().chain(pieces)
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

/// What the values of a batch hold, about: without what their buffers hold beside it.
pub fn batch_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(content_bytes).fold(0_u64, u64::saturating_add)
}

/// What writing the widest value once more takes. Of views and dictionaries only a reference is
/// written.
fn copied_bytes(column: &dyn Array) -> u64 {
    match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => longest(column.as_string::<i64>().value_offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => longest(column.as_binary::<i64>().value_offsets()),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            longest(list.value_offsets()).saturating_mul(copied_bytes(list.values().as_ref()))
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            longest(list.value_offsets()).saturating_mul(copied_bytes(list.values().as_ref()))
        }
        DataType::Struct(_) => {
            let fields = column.as_struct().columns().iter();
            fields.map(|field| copied_bytes(field.as_ref())).fold(0_u64, u64::saturating_add)
        }
        _ => ROW_BYTES,
    }
}

fn longest<O: OffsetSizeTrait>(offsets: &[O]) -> u64 {
    let lengths = offsets.iter().zip(offsets.iter().skip(1)).map(|(from, to)| *to - *from);
    lengths.max().map_or(0, |length| length.as_usize() as u64)
}
