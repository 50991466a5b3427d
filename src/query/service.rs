//! Runs analysts' SQL: read-only, bounded in memory, time and number.

use std::sync::Arc;
use std::time::Duration;

use arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::SessionContext;
use futures::StreamExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::tables::store_tables;
use crate::findings::quarantine::Quarantine;
use crate::findings::store::Store;
use crate::history::events::EventsTable;
use crate::sql::context::analyst_session;

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong; the message says where.
    #[error("{0}")]
    Wrong(String),
    /// It took longer than `[query] timeout`.
    #[error("stopped after {}, the limit of `[query] timeout`", humantime::format_duration(*.0))]
    TimedOut(Duration),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        Self::Wrong(error.strip_backtrace())
    }
}

/// What a query may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of all queries together, bytes.
    pub memory_bytes: usize,
    /// Time of one query.
    pub timeout: Duration,
    /// Queries at the same time; more of them wait.
    pub concurrent_max: usize,
}

/// The tables and the limits.
pub struct QueryService {
    context: SessionContext,
    running: Arc<Semaphore>,
    timeout: Duration,
    /// Queries have threads of their own: one that does not give way must not hold up the wire.
    runtime: Option<Runtime>,
}

impl Drop for QueryService {
    fn drop(&mut self) {
        // A query that does not give way must not hold up the stop either.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for QueryService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryService").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl QueryService {
    /// A service over these stores: `events`, and the tables of findings and quarantine.
    ///
    /// # Errors
    /// Only when a table cannot be registered, or no thread be started.
    pub fn new(
        events: EventsTable,
        store: &Arc<Store>,
        quarantine: &Arc<Quarantine>,
        limits: Limits,
    ) -> Result<Self, DataFusionError> {
        let context = analyst_session(limits.memory_bytes)?;
        context.register_table("events", Arc::new(events))?;
        for (name, table) in store_tables(store, quarantine) {
            context.register_table(name, Arc::new(table))?;
        }
        let threads = limits.concurrent_max.max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .enable_all()
            .build()?;
        let running = Arc::new(Semaphore::new(threads));
        Ok(Self { context, running, timeout: limits.timeout, runtime: Some(runtime) })
    }

    /// The rows of a query as one JSON array of objects; NULLs are written. Dropping the future
    /// stops the query.
    ///
    /// # Errors
    /// When the query is wrong, not read-only, or beyond a limit.
    pub async fn json(&self, sql: &str) -> Result<Vec<u8>, QueryError> {
        let (context, running) = (self.context.clone(), Arc::clone(&self.running));
        let sql = sql.to_owned();
        let mut task = JoinSet::new();
        let answer = async move {
            let _running = running.acquire().await;
            rows(&context, &sql).await
        };
        if let Some(runtime) = &self.runtime {
            task.spawn_on(answer, runtime.handle());
        }
        // The set is dropped with this future, and the query is stopped with the set.
        match tokio::time::timeout(self.timeout, task.join_next()).await {
            Ok(Some(Ok(answer))) => Ok(answer?),
            Ok(_) => Err(QueryError::Wrong("the query failed in an unforeseen way".to_owned())),
            Err(_) => Err(QueryError::TimedOut(self.timeout)),
        }
    }
}

async fn rows(context: &SessionContext, sql: &str) -> Result<Vec<u8>, DataFusionError> {
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let mut stream = context.sql_with_options(sql, read_only).await?.execute_stream().await?;
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    while let Some(batch) = stream.next().await {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let bytes = writer.into_inner();
    // The writer writes nothing at all for no rows.
    Ok(if bytes.is_empty() { b"[]".to_vec() } else { bytes })
}
