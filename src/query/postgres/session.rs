//! One session: statements in, answers out, one after the other.
//!
//! Promise: what a session keeps (statements, portals, parameters) is its own, bounded, and gone
//! with it. A question is stopped when its client leaves, asks for that, or the service stops it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use super::column::Wanted;
use super::failure::{Failure, cancelled};
use super::function;
use super::message::Message;
use super::order::{self, Order};
use super::parameter::Parameter;
use super::prepared::{Portal, Prepared, Progress, Running, no_portal};
use super::registry::Place;
use super::reply::{self, Transaction};
use super::wire::{Ended, MESSAGE_BYTES_MAX, Wire};
use crate::query::asker::Asker;
use crate::query::service::{Answer, QueryError, QueryService};

/// How long a session may ask nothing. Pools of connections keep theirs for hours.
const IDLE_TIMEOUT: Duration = Duration::from_hours(12);

/// Somebody who asks.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) query: Arc<QueryService>,
    pub(super) asker: Asker,
    pub(super) place: Place,
    pub(super) stop: CancellationToken,
    pub(super) counted: Arc<dyn Fn(bool) + Send + Sync>,
    pub(super) state: State,
}

/// What a session keeps.
#[derive(Default)]
pub(super) struct State {
    pub(super) transaction: Option<Transaction>,
    /// Prepared statements by name; the unnamed is "".
    pub(super) statements: BTreeMap<String, Arc<Prepared>>,
    pub(super) portals: BTreeMap<String, Portal>,
    /// What SET said, by names in lower case.
    parameters: BTreeMap<String, String>,
    /// Messages are passed over up to the next Sync.
    pub(super) skips: bool,
}

impl State {
    pub(super) fn with(application_name: Option<&str>) -> Self {
        let mut state = Self::default();
        state.set("application_name", application_name.unwrap_or_default());
        state
    }

    fn set(&mut self, name: &str, value: &str) {
        // Others are heard and not kept: clients set what they like.
        if function::setting(name).is_some() && value.len() <= 256 {
            self.parameters.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }

    /// The parameter's name and value.
    fn get(&self, name: &str) -> Option<(&'static str, String)> {
        let (name, value) = function::setting(name)?;
        let set = self.parameters.get(&name.to_ascii_lowercase());
        // Times are always told in UTC, and text always in UTF-8.
        let is_fixed = matches!(name, "TimeZone" | "client_encoding" | "DateStyle" | "search_path");
        Some((name, set.filter(|_| !is_fixed).cloned().unwrap_or_else(|| value.to_owned())))
    }

    pub(super) fn now(&self) -> Transaction {
        self.transaction.unwrap_or(Transaction::Idle)
    }

    /// What else than an end may be said in a transaction that failed?
    pub(super) fn check(&self, order: Option<&Order>) -> Result<(), Failure> {
        let is_end = matches!(order, Some(Order::End { .. }));
        if self.now() == Transaction::Failed && !is_end {
            let message = "the transaction has failed: its statements are passed over";
            return Err(Failure::new("25P02", message).hint("say ROLLBACK"));
        }
        Ok(())
    }

    fn failed(&mut self) {
        if self.now() == Transaction::Open {
            self.transaction = Some(Transaction::Failed);
        }
    }
}

impl Session {
    /// Answers until one of both ends it.
    pub(super) async fn run(mut self) {
        let why = match self.serve().await {
            Ok(()) | Err(Ended::Left) => None,
            Err(Ended::Told(failure)) => Some(failure),
        };
        self.wire.close(why.as_ref()).await;
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        self.wire.flush().await?;
        loop {
            let stopped = || Failure::fatal("57P01", "the service stops");
            let stop = self.stop.clone();
            let message = tokio::select! {
                message = self.wire.message(IDLE_TIMEOUT, MESSAGE_BYTES_MAX) => message?,
                () = stop.cancelled() => return Err(stopped().into()),
            };
            let Some((kind, body)) = message else { return Ok(()) };
            match Message::read(kind, body)? {
                Message::Terminate => return Ok(()),
                Message::Query(sql) => self.simple(&sql).await?,
                Message::Sync => {
                    self.state.skips = false;
                    if self.state.now() == Transaction::Idle {
                        self.state.portals.clear();
                    }
                    reply::ready(&mut self.wire.out, self.state.now());
                    self.wire.flush().await?;
                }
                _ if self.state.skips => {}
                Message::Flush => self.wire.flush().await?,
                message => {
                    if let Err(ended) = self.extended(message).await {
                        self.tell(ended).await?;
                        self.state.skips = true;
                    }
                }
            }
        }
    }

    /// Says what went wrong with a statement; what ends the session is handed on.
    async fn tell(&mut self, ended: Ended) -> Result<(), Ended> {
        match ended {
            Ended::Told(failure) if !failure.fatal => {
                self.state.failed();
                reply::error(&mut self.wire.out, &failure);
                self.wire.flush().await
            }
            ended => Err(ended),
        }
    }

    /// Statements of one message: those behind one that fails are not run.
    async fn simple(&mut self, sql: &str) -> Result<(), Ended> {
        if let Err(ended) = self.each(sql).await {
            self.tell(ended).await?;
        }
        reply::ready(&mut self.wire.out, self.state.now());
        self.wire.flush().await
    }

    async fn each(&mut self, sql: &str) -> Result<(), Ended> {
        let statements = order::statements(sql)?;
        if statements.is_empty() {
            reply::bare(&mut self.wire.out, reply::EMPTY_QUERY);
        }
        for sql in statements {
            let order = order::order(&sql)?;
            self.state.check(order.as_ref())?;
            if let Some(order) = order {
                self.order(order, true).await?;
            } else {
                let wanted = Wanted::Rows { formats: Vec::new(), described: true };
                self.question(&sql, Vec::new(), wanted).await?;
            }
        }
        Ok(())
    }

    /// Does what an order says, and says so; `described` when columns are to be told too.
    pub(super) async fn order(&mut self, order: Order, described: bool) -> Result<(), Ended> {
        let tag = match order {
            Order::Begin => {
                self.state.transaction = Some(Transaction::Open);
                "BEGIN"
            }
            Order::End { undone } => {
                let failed = self.state.now() == Transaction::Failed;
                self.state.transaction = None;
                self.state.portals.clear();
                if undone || failed { "ROLLBACK" } else { "COMMIT" }
            }
            Order::Set { name, value } => {
                self.state.set(&name, &value);
                if name == "application_name" {
                    reply::parameter(&mut self.wire.out, "application_name", &value);
                }
                "SET"
            }
            Order::Show(name) => {
                let (name, value) = self.shown(&name)?;
                if described {
                    let field = super::prepared::text_column(name);
                    reply::columns(&mut self.wire.out, &[field]);
                }
                reply::row(&mut self.wire.out, &value);
                "SHOW"
            }
            Order::DiscardAll => {
                let application_name = self.state.get("application_name");
                let application_name = application_name.map(|(_, name)| name);
                self.state = State::with(application_name.as_deref());
                "DISCARD ALL"
            }
            Order::Prepare { name, sql } => {
                let prepared = self.prepare(sql, Vec::new()).await?;
                self.state.keep(name, prepared)?;
                "PREPARE"
            }
            Order::Deallocate(Some(name)) => {
                self.state.statements.remove(&name).ok_or_else(|| missing(&name))?;
                "DEALLOCATE"
            }
            Order::Deallocate(None) => {
                self.state.statements.clear();
                "DEALLOCATE ALL"
            }
            Order::Declare { name, sql } => {
                self.declare(name, sql).await?;
                "DECLARE CURSOR"
            }
            Order::Fetch { name, rows } => return self.fetch_rows(&name, rows, described).await,
            Order::Close(Some(name)) => {
                self.state.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
                "CLOSE CURSOR"
            }
            Order::Close(None) => {
                self.state.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Order::Execute { name, arguments } => return self.execute(&name, arguments).await,
            Order::Copy { sql, form } => {
                return self.question(&sql, Vec::new(), Wanted::Copy(form)).await;
            }
            Order::Nothing(tag) => tag,
        };
        reply::complete(&mut self.wire.out, tag);
        Ok(())
    }

    /// A parameter's name and value.
    pub(super) fn shown(&self, name: &str) -> Result<(&'static str, String), Failure> {
        self.state.get(name).ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Failure::new("42704", message).hint("SELECT * FROM pg_settings lists them")
        })
    }

    /// EXECUTE, whose arguments are texts of constants.
    async fn execute(&mut self, name: &str, arguments: Vec<Option<String>>) -> Result<(), Ended> {
        let prepared = self.state.statements.get(name).cloned().ok_or_else(|| missing(name))?;
        let Prepared::Question { sql, types, .. } = prepared.as_ref() else {
            return Err(Failure::new("0A000", "EXECUTE is for questions").into());
        };
        let parameter = |(at, argument): (usize, Option<String>)| Parameter {
            value: argument.map(Bytes::from),
            binary: false,
            declared: types.get(at).cloned().unwrap_or(pgwire::api::Type::UNKNOWN),
        };
        let parameters = arguments.into_iter().enumerate().map(parameter).collect();
        let wanted = Wanted::Rows { formats: Vec::new(), described: true };
        self.question(sql, parameters, wanted).await
    }

    /// Asks, and sends all of the answer.
    async fn question(
        &mut self,
        sql: &str,
        parameters: Vec<Parameter>,
        wanted: Wanted,
    ) -> Result<(), Ended> {
        let is_copy = matches!(wanted, Wanted::Copy(_));
        let place = self.place.clone();
        let cancel = place.cancelled();
        tokio::pin!(cancel);
        let mut running = self.ask(sql, parameters, wanted, cancel.as_mut()).await?;
        self.rows(&mut running, 0, cancel).await?;
        if is_copy {
            reply::bare(&mut self.wire.out, reply::COPY_DONE);
        }
        let verb = if is_copy { "COPY" } else { "SELECT" };
        reply::complete(&mut self.wire.out, &format!("{verb} {}", running.rows));
        Ok(())
    }

    /// Asks, and waits for the first part of the answer.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        parameters: Vec<Parameter>,
        wanted: Wanted,
        cancel: std::pin::Pin<&mut Notified<'_>>,
    ) -> Result<Running, Ended> {
        let (query, asker) = (Arc::clone(&self.query), self.asker.clone());
        let answer = tokio::select! {
            answer = query.ask_as_postgres(&asker, sql, parameters, wanted) => answer,
            () = self.wire.left() => return Err(Ended::Left),
            () = cancel => return Err(cancelled().into()),
        };
        (self.counted)(answer.is_ok());
        let parts: BoxStream<'static, Result<Bytes, QueryError>> =
            answer.map(Answer::into_parts).map_err(Failure::from)?.boxed();
        Ok(Running { parts, rest: Bytes::new(), rows: 0 })
    }

    /// Sends rows: all, or up to `rows_max` of them where that is not 0. Whether there may be more.
    pub(super) async fn rows(
        &mut self,
        running: &mut Running,
        rows_max: u32,
        mut cancel: std::pin::Pin<&mut Notified<'_>>,
    ) -> Result<Progress, Ended> {
        let mut left = if rows_max == 0 { u64::MAX } else { rows_max.into() };
        loop {
            let taken = running.take(&mut left);
            if !taken.is_empty() {
                if self.wire.out.len() + taken.len() < 4_096 {
                    self.wire.out.extend_from_slice(&taken);
                } else {
                    self.wire.send(taken).await?;
                }
            }
            if left == 0 {
                return Ok(Progress::More);
            }
            if running.rest.has_remaining() {
                continue;
            }
            let part = tokio::select! {
                part = running.parts.next() => part,
                () = self.wire.left() => return Err(Ended::Left),
                () = cancel.as_mut() => return Err(cancelled().into()),
            };
            match part {
                None => return Ok(Progress::Done),
                Some(part) => running.rest = part.map_err(Failure::from)?,
            }
        }
    }
}

pub(super) fn missing(name: &str) -> Failure {
    Failure::new("26000", format!("prepared statement \"{name}\" does not exist"))
}
