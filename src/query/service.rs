//! Runs analysts' SQL: read-only, bounded in memory, time, rows and number.
//!
//! A question waits for its turn, is planned and run on threads of its own, and its answer is
//! handed on in parts through a bounded channel: who reads slowly slows the query down, who leaves
//! stops it. No query changes anything, reads a file or opens a connection of its own choice.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::Stream;
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::asker::{Asker, Sessions, Sights};
pub use super::error::QueryError;
use super::format::{Format, Written};
use super::noted::Noted;
use super::planning::{Described, Question, Unplanned, describe};
use super::postgres::column::Wanted;
use super::postgres::parameter::Parameter;
use super::run::Run;
use super::statement;
use crate::findings::questions::QuestionLog;
use crate::history::whereabouts::Whereabouts;
use crate::sql::address::Addresses;
use crate::sql::context::analyst_session_with;
use crate::sql::spill::Spill;

mod evidence;
mod flight;
mod refused;

pub(super) use self::flight::Listed;

/// Parts of an answer that may wait for their reader.
const PARTS_WAITING: usize = 2;

/// How long who finds no room should stay away.
const BUSY_AFTER: Duration = Duration::from_secs(2);

const THREADS_MIN: usize = 2;

/// A query's stack. What was nested or chained is planned, and dropped, by recursion, and a thread
/// that has no stack left takes the process with it. Only what is used of it takes memory.
const STACK_BYTES: usize = 64 << 20;

/// What queries may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of all queries together, bytes.
    pub memory_bytes: usize,
    /// Time of one query, from its turn to the last byte of its answer; also the time that it may
    /// wait for its turn.
    pub timeout: Duration,
    /// Queries at the same time; more of them wait.
    pub concurrent_max: usize,
    /// Queries that may wait; more of them are refused.
    pub queue_max: usize,
    /// Rows of one answer.
    pub rows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            timeout: Duration::from_mins(1),
            concurrent_max: 8,
            queue_max: 64,
            rows_max: 10_000_000,
        }
    }
}

/// The tables and the limits.
pub struct QueryService {
    sights: Arc<Sights>,
    log: Option<Arc<QuestionLog>>,
    whereabouts: Option<Arc<Whereabouts>>,
    /// Room for those that run and those that wait.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    limits: Limits,
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
        f.debug_struct("QueryService").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl QueryService {
    /// A service over these tables, and the views over those of them that views are made of.
    ///
    /// # Errors
    /// When a table cannot be registered, a view not be planned, or no thread be started.
    pub fn new(
        tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
        limits: Limits,
    ) -> Result<Self, DataFusionError> {
        Self::with_spill(tables, limits, None)
    }

    /// As [`Self::new`]; what has no room in memory goes to `spill`, if there is one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_spill(
        tables: Vec<(&'static str, Arc<dyn TableProvider>)>,
        limits: Limits,
        spill: Option<Spill>,
    ) -> Result<Self, DataFusionError> {
        let bare = analyst_session_with(limits.memory_bytes, spill)?;
        let sights = Arc::new(Sights::new(bare, tables));
        // What most see is made at once, and so is what is wrong with a table.
        sights.of(&Asker::local().sight)?;
        let concurrent = limits.concurrent_max.max(1);
        // More threads than cores would only take turns away from who takes events in; one query
        // that does not give way must leave a thread to the others.
        let cores = std::thread::available_parallelism().map_or(THREADS_MIN, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.max(THREADS_MIN).min(concurrent.max(THREADS_MIN)))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(give_precedence)
            .enable_all()
            .build()?;
        let running = Arc::new(Semaphore::new(concurrent));
        let admitted = concurrent.saturating_add(limits.queue_max).min(Semaphore::MAX_PERMITS);
        let admitted = Arc::new(Semaphore::new(admitted));
        Ok(Self {
            sights,
            log: None,
            whereabouts: None,
            admitted,
            running,
            limits,
            runtime: Some(runtime),
        })
    }

    /// The same service, which writes down who asks what.
    #[must_use]
    pub fn with_log(mut self, log: Arc<QuestionLog>) -> Self {
        self.log = Some(log);
        self
    }

    /// The same service, which says where in the history events are.
    #[must_use]
    pub fn with_whereabouts(mut self, whereabouts: Whereabouts) -> Self {
        self.whereabouts = Some(Arc::new(whereabouts));
        self
    }

    /// Queries that are planned from now on know this of addresses.
    pub fn supply(&self, addresses: &Addresses) {
        self.sights.supply(addresses);
    }

    /// The answer to a query, from its first part on: what goes wrong before that is an error
    /// here, what goes wrong later is one in its parts. Dropping the future or the answer stops
    /// the query.
    ///
    /// # Errors
    /// When the query is wrong, not read-only, beyond a limit, or there is no room for it.
    pub async fn ask(
        &self,
        asker: &Asker,
        sql: &str,
        format: Format,
    ) -> Result<Answer, QueryError> {
        self.check_length(asker, sql).await?;
        let session = self.sessions(asker).await?.plain;
        self.answer(asker, session, Question::plain(sql), Written::As(format)).await
    }

    /// As [`Self::ask`], of a client of PostgreSQL.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn ask_as_postgres(
        &self,
        asker: &Asker,
        sql: &str,
        parameters: Vec<Parameter>,
        wanted: Wanted,
    ) -> Result<Answer, QueryError> {
        self.check_length(asker, sql).await?;
        let Sessions { postgres, names, .. } = self.sessions(asker).await?;
        let question = Question { parameters, names: Some(names), ..Question::plain(sql) };
        self.answer(asker, postgres, question, Written::Messages(wanted)).await
    }

    /// What a statement would ask for and give, as a client of PostgreSQL is told. It is written
    /// down when that cannot be said; otherwise once it is asked.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn describe(
        &self,
        asker: &Asker,
        sql: &str,
        declared: Vec<u32>,
    ) -> Result<Described, QueryError> {
        match self.described(asker, sql, declared).await {
            Ok(described) => Ok(described),
            Err(error) => Err(self.refused(asker, sql, None, error).await),
        }
    }

    async fn described(
        &self,
        asker: &Asker,
        sql: &str,
        declared: Vec<u32>,
    ) -> Result<Described, QueryError> {
        statement::check_length(sql)?;
        let Sessions { postgres: context, names, .. } = self.sessions(asker).await?;
        let turn = self.turn().await?;
        let Some(runtime) = &self.runtime else { return Err(QueryError::Broken) };
        let (sql, handle) = (sql.to_owned(), runtime.handle().clone());
        // As for a question: it does not give way, and is left when the time is up.
        let planning = runtime.spawn_blocking(move || {
            let _turn = turn;
            handle.block_on(describe(&context, &sql, &names, &declared)).map_err(
                |error| match error {
                    Unplanned::Refused(error) => error,
                    Unplanned::Failed(error) => error.into(),
                },
            )
        });
        let timeout = self.limits.timeout;
        match timeout_at(Instant::now() + timeout, planning).await {
            Ok(described) => described.map_err(|_| QueryError::Broken)?,
            Err(_) => Err(QueryError::TimedOut(timeout)),
        }
    }

    /// The tables as this asker sees them.
    async fn sessions(&self, asker: &Asker) -> Result<Sessions, QueryError> {
        if let Some(sessions) = self.sights.made(&asker.sight) {
            return Ok(sessions);
        }
        let Some(runtime) = &self.runtime else { return Err(QueryError::Broken) };
        let (sights, sight) = (Arc::clone(&self.sights), asker.sight.clone());
        let made = runtime.spawn_blocking(move || sights.of(&sight)).await;
        Ok(made.map_err(|_| QueryError::Broken)??)
    }

    async fn answer(
        &self,
        asker: &Asker,
        context: SessionContext,
        question: Question,
        written: Written,
    ) -> Result<Answer, QueryError> {
        let permits = match self.turn().await {
            Ok(permits) => permits,
            Err(error) => {
                let parameters = question.shown();
                return Err(self.refused(asker, &question.sql, parameters, error).await);
            }
        };
        let deadline = Instant::now() + self.limits.timeout;
        let (sender, parts) = mpsc::channel(PARTS_WAITING);
        let run = Run { context, limits: self.limits, written, parts: sender };
        let (log, asker) = (self.log.clone(), asker.clone());
        let mut task = JoinSet::new();
        if let Some(runtime) = &self.runtime {
            let work = async move {
                let mut noted = log.map(|log| Noted::begin(log, &asker, &question));
                let turn = Arc::new(permits);
                // Whoever does not read must not keep others from their turn.
                let timed_out = QueryError::TimedOut(run.limits.timeout);
                let running = run.run(question, &turn, &mut noted);
                timeout_at(deadline, running).await.unwrap_or(Err(timed_out))
            };
            task.spawn_on(work, runtime.handle());
        }
        let timeout = self.limits.timeout;
        let mut answer = Answer { first: None, parts, task, deadline, timeout };
        answer.first = answer.receive().await.transpose()?;
        Ok(answer)
    }

    /// Waits for a turn; the permits are held as long as the query runs.
    async fn turn(&self) -> Result<Turn, QueryError> {
        let busy = || QueryError::Busy { after: BUSY_AFTER };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let running = Arc::clone(&self.running).acquire_owned();
        let running = timeout_at(Instant::now() + self.limits.timeout, running).await;
        match running {
            Ok(Ok(running)) => Ok([admitted, running]),
            _ => Err(busy()),
        }
    }
}

/// Places among those that may wait, and among those that run.
pub(super) type Turn = [OwnedSemaphorePermit; 2];

/// An answer on its way. Dropping it stops the query.
#[derive(Debug)]
pub struct Answer {
    first: Option<Bytes>,
    parts: mpsc::Receiver<Bytes>,
    task: JoinSet<Result<(), QueryError>>,
    deadline: Instant,
    timeout: Duration,
}

impl Answer {
    /// Its bytes in parts. An error is the last part: what came before it is not the whole answer.
    pub fn into_parts(self) -> impl Stream<Item = Result<Bytes, QueryError>> + Send + 'static {
        futures::stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            let part = match answer.first.take() {
                Some(first) => Some(Ok(first)),
                None => answer.receive().await,
            }?;
            let goes_on = part.is_ok();
            Some((part, goes_on.then_some(answer)))
        })
    }

    /// The next part, `None` after the last.
    async fn receive(&mut self) -> Option<Result<Bytes, QueryError>> {
        // The query's own limit does not stop work that does not give way: this one does.
        let Ok(part) = timeout_at(self.deadline, self.parts.recv()).await else {
            self.task.abort_all();
            return Some(Err(QueryError::TimedOut(self.timeout)));
        };
        if let Some(part) = part {
            return Some(Ok(part));
        }
        // Only who has come to an end without an error has given all parts.
        match self.task.join_next().await {
            Some(Ok(Ok(()))) | None => None,
            Some(Ok(Err(error))) => Some(Err(error)),
            Some(Err(_)) => Some(Err(QueryError::Broken)),
        }
    }
}

/// A thread of queries has its turn after all others, as with `nice -n 10`: analysts must not slow
/// down who takes events in. Its word is that of the crate, 0 the last and 99 the first.
fn give_precedence() {
    const AFTER_OTHERS: u8 = 22;
    if !cfg!(target_os = "linux") {
        return;
    }
    let lower = ThreadPriorityValue::try_from(AFTER_OTHERS).map(ThreadPriority::Crossplatform);
    if let Some(Err(error)) = lower.ok().map(set_current_thread_priority) {
        debug!(?error, "a thread of queries is as urgent as others");
    }
}

#[cfg(test)]
mod tests;
