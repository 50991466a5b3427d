//! One query at its turn: planned, run, written out part by part.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::error::QueryError;
use super::format::{Encoder, Written};
use super::noted::Noted;
use super::planning::{Question, Unplanned, plan};
use super::service::{Limits, Turn};
use crate::history::error::is_away;
use crate::sql::meter::Meter;

/// When to ask again for what a bucket that is away has.
const AWAY_AFTER: Duration = Duration::from_secs(15);

/// One query at its turn.
pub(super) struct Run {
    pub(super) context: SessionContext,
    pub(super) limits: Limits,
    pub(super) written: Written,
    pub(super) parts: mpsc::Sender<Bytes>,
}

impl Run {
    pub(super) async fn run(
        &self,
        question: Question,
        turn: &Arc<Turn>,
        noted: &mut Option<Noted>,
    ) -> Result<(), QueryError> {
        let done = self.hand_all_on(question, turn, noted).await;
        if let Some(noted) = noted {
            noted.ended(&done);
        }
        done
    }

    async fn hand_all_on(
        &self,
        question: Question,
        turn: &Arc<Turn>,
        noted: &mut Option<Noted>,
    ) -> Result<(), QueryError> {
        let _counted = Counted(self.context.state().config().get_extension::<Meter>());
        let mut stream = self.rows(question, turn).await?;
        let mut encoder = Encoder::new(&self.written, &stream.schema())?;
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| self.error(error))?;
            rows += batch.num_rows();
            if let Some(noted) = noted {
                noted.rows = rows as u64;
            }
            if rows > self.limits.rows_max {
                return Err(QueryError::TooManyRows(self.limits.rows_max));
            }
            for slice in encoder.slices(&batch) {
                encoder.write(&slice)?;
                if let Some(part) = encoder.part() {
                    self.hand_on(part).await;
                }
            }
        }
        self.hand_on(encoder.finish()?).await;
        Ok(())
    }

    /// Plans on a thread that can be left when the time is up, because planning does not give way.
    /// The turn ends when the thread does.
    async fn rows(
        &self,
        question: Question,
        turn: &Arc<Turn>,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let (context, turn) = (self.context.clone(), Arc::clone(turn));
        let planning = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let planned = Handle::current().block_on(plan(&context, &question));
            if let Some(meter) = context.state().config().get_extension::<Meter>() {
                meter.give_back();
            }
            planned
        });
        let planned = planning.await.map_err(|_| QueryError::Broken)?;
        let plan = planned.map_err(|error| match error {
            Unplanned::Refused(error) => error,
            Unplanned::Failed(error) => self.error(error),
        })?;
        execute_stream(plan, self.context.task_ctx()).map_err(|error| self.error(error))
    }

    async fn hand_on(&self, part: Vec<u8>) {
        // It fails when the reader has gone: then this task is being stopped.
        let _ = self.parts.send(part.into()).await;
    }

    fn error(&self, error: DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(message) => QueryError::Memory {
                message: message.lines().next().unwrap_or_default().to_owned(),
                memory_bytes: self.limits.memory_bytes,
            },
            _ if is_away(&error) => {
                QueryError::Away { message: error.strip_backtrace(), after: AWAY_AFTER }
            }
            _ => error.into(),
        }
    }
}

/// What functions made for a query counts no longer once it has ended.
struct Counted(Option<Arc<Meter>>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(meter) = &self.0 {
            meter.give_back_all();
        }
    }
}
