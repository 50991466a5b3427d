//! Prepared statements and portals: the extended protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo};

use arrow::datatypes::SchemaRef;

use super::column::{self, Wanted};
use super::failure::{Failure, cancelled};
use super::message::{Bind, Message, Named};
use super::order::{self, Order};
use super::parameter::{self, PARAMETERS_MAX, Parameter};
use super::reply;
use super::session::{Session, State, missing};
use super::wire::Ended;
use crate::query::service::QueryError;

/// Most that a session may keep of prepared statements, bytes of text.
const STATEMENTS_BYTES_MAX: usize = 2 << 20;

/// Most that it may keep of parameters, bytes.
const PARAMETERS_BYTES_MAX: usize = 2 << 20;

/// Most statements of a session, and most portals.
const STATEMENTS_MAX: usize = 1_000;
const PORTALS_MAX: usize = 64;

/// A statement that can be asked again and again.
#[derive(Debug)]
pub(super) enum Prepared {
    /// No statement at all, which is one.
    Empty,
    /// What the session answers.
    Order(Order),
    /// What the tables answer. Only its text is kept: it is planned again each time.
    Question { sql: String, types: Vec<Type>, schema: SchemaRef },
}

impl Prepared {
    fn bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Order(
                Order::Prepare { sql, .. } | Order::Copy { sql, .. } | Order::Declare { sql, .. },
            ) => sql.len(),
            Self::Order(_) => 64,
            Self::Question { sql, types, schema } => {
                let names: usize = schema.fields().iter().map(|field| field.name().len()).sum();
                sql.len() + names + 64 * (types.len() + schema.fields().len())
            }
        }
    }

    fn types(&self) -> &[Type] {
        match self {
            Self::Question { types, .. } => types,
            Self::Empty | Self::Order(_) => &[],
        }
    }
}

/// A statement with its parameters, and how far its answer is read.
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    parameters: Vec<Parameter>,
    formats: Vec<i16>,
    running: Option<Running>,
    is_done: bool,
}

impl Portal {
    /// Of a statement without parameters, whose answer is text.
    pub(super) fn of(prepared: Arc<Prepared>) -> Self {
        let (parameters, formats) = (Vec::new(), Vec::new());
        Self { prepared, parameters, formats, running: None, is_done: false }
    }

    fn bytes(&self) -> usize {
        let value = |parameter: &Parameter| 64 + parameter.value.as_ref().map_or(0, Bytes::len);
        let values: usize = self.parameters.iter().map(value).sum();
        2 * self.formats.len() + values + self.prepared.bytes()
    }
}

/// Whether an answer has more rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    More,
}

/// An answer on its way.
pub(super) struct Running {
    pub(super) parts: BoxStream<'static, Result<Bytes, QueryError>>,
    /// Messages of the last part that are still to be sent.
    pub(super) rest: Bytes,
    /// How many rows have been.
    pub(super) rows: u64,
}

impl Running {
    /// Takes messages up to so many rows, and counts them.
    pub(super) fn take(&mut self, left: &mut u64) -> Bytes {
        let mut end = 0;
        while *left > 0
            && let Some(kind) = self.rest.get(end)
            && let Some(length) = self.rest.get(end + 1..end + 5)
        {
            let length = length.try_into().map_or(4, u32::from_be_bytes);
            if matches!(kind, b'D' | b'd') {
                *left -= 1;
                self.rows += 1;
            }
            end += 1 + usize::try_from(length).unwrap_or(usize::MAX);
        }
        self.rest.split_to(end.min(self.rest.len()))
    }
}

/// A column of text, as SHOW has one.
pub(super) fn text_column(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

impl State {
    /// Keeps a statement under a name, if there is room.
    pub(super) fn keep(&mut self, name: String, prepared: Prepared) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Failure::new("42P05", message));
        }
        let kept = self.statements.iter();
        let kept: usize = kept.map(|(name, kept)| name.len() + kept.bytes()).sum();
        let more = name.len() + prepared.bytes();
        if kept + more > STATEMENTS_BYTES_MAX || self.statements.len() >= STATEMENTS_MAX {
            let message = format!(
                "a session keeps {STATEMENTS_MAX} prepared statements of {STATEMENTS_BYTES_MAX} \
                 bytes together"
            );
            return Err(Failure::new("53400", message).hint("close some: DEALLOCATE name"));
        }
        self.statements.insert(name, Arc::new(prepared));
        Ok(())
    }

    /// Keeps a portal under a name, if there is room.
    pub(super) fn open(&mut self, name: String, portal: Portal) -> Result<(), Failure> {
        if self.portals.contains_key(&name) {
            return Err(Failure::new("42P03", format!("portal \"{name}\" already exists")));
        }
        let kept = self.portals.iter();
        let kept: usize = kept.map(|(name, portal)| name.len() + portal.bytes()).sum();
        let more = name.len() + portal.bytes();
        if self.portals.len() >= PORTALS_MAX || kept + more > PARAMETERS_BYTES_MAX {
            let message = format!(
                "a session keeps {PORTALS_MAX} portals, and {PARAMETERS_BYTES_MAX} bytes of \
                 parameters"
            );
            return Err(Failure::new("53400", message).hint("close some"));
        }
        self.portals.insert(name, portal);
        Ok(())
    }
}

impl Session {
    /// A message of the extended protocol.
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Ended> {
        match message {
            Message::Parse { name, sql, types } => {
                let prepared = self.prepare(sql, types).await?;
                if name.is_empty() {
                    self.state.statements.remove("");
                }
                self.state.keep(name, prepared)?;
                reply::bare(&mut self.wire.out, reply::PARSED);
            }
            Message::Bind(bind) => {
                self.bind(bind)?;
                reply::bare(&mut self.wire.out, reply::BOUND);
            }
            Message::Describe(named) => self.describe(&named)?,
            Message::Execute { portal, rows_max } => self.fetch(portal, rows_max).await?,
            Message::Close(named) => {
                match named {
                    Named::Statement(name) => drop(self.state.statements.remove(&name)),
                    Named::Portal(name) => drop(self.state.portals.remove(&name)),
                }
                reply::bare(&mut self.wire.out, reply::CLOSED);
            }
            Message::FunctionCall => {
                let failure = Failure::new("0A000", "functions are not called by number");
                return Err(failure.hint("SELECT function(...)").into());
            }
            // Left over from a COPY that was refused.
            Message::Copy => {}
            _ => return Err(Failure::fatal("08P01", "not now: the session has begun").into()),
        }
        self.wire.pass_on().await
    }

    /// Plans a statement once, to know what it asks for and gives.
    pub(super) async fn prepare(
        &mut self,
        sql: String,
        named: Vec<u32>,
    ) -> Result<Prepared, Ended> {
        let statements = order::statements(&sql)?;
        let sql = match <[String; 1]>::try_from(statements) {
            Ok([sql]) => sql,
            Err(none) if none.is_empty() => return Ok(Prepared::Empty),
            Err(_) => {
                let message = "a prepared statement is one statement";
                return Err(Failure::new("42601", message).into());
            }
        };
        let order = order::order(&sql)?;
        self.state.check(order.as_ref())?;
        if let Some(order) = order {
            return Ok(Prepared::Order(order));
        }
        if named.len() > PARAMETERS_MAX {
            return Err(
                Failure::new("54000", format!("more than {PARAMETERS_MAX} parameters")).into()
            );
        }
        let (query, place) = (Arc::clone(&self.query), self.place.clone());
        let asker = self.asker.clone();
        let described = tokio::select! {
            described = query.describe(&asker, &sql, named.clone()) => described,
            () = self.wire.left() => return Err(Ended::Left),
            () = place.cancelled() => return Err(cancelled().into()),
        };
        let described = described.map_err(Failure::from)?;
        let of = |(at, data_type)| {
            let named = named.get(at).copied().and_then(Type::from_oid);
            named.unwrap_or_else(|| parameter::told(data_type))
        };
        let types = described.parameters.iter().enumerate().map(of).collect();
        Ok(Prepared::Question { sql, types, schema: described.schema })
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let prepared = self.state.statements.get(&bind.statement).cloned();
        let prepared = prepared.ok_or_else(|| missing(&bind.statement))?;
        let types = prepared.types();
        if bind.parameters.len() != types.len() {
            let (found, wanted) = (bind.parameters.len(), types.len());
            let message = format!("{found} parameters for a statement that asks for {wanted}");
            return Err(Failure::new("08P01", message));
        }
        let format = |at: usize| match bind.parameter_formats.as_slice() {
            [] => 0,
            [one] => *one,
            each => each.get(at).copied().unwrap_or(0),
        };
        let parameter = |(at, value): (usize, Option<Bytes>)| Parameter {
            // A copy, or each value would keep the whole message.
            value: value.map(|value| Bytes::copy_from_slice(&value)),
            binary: format(at) == 1,
            declared: types.get(at).cloned().unwrap_or(Type::UNKNOWN),
        };
        let parameters = bind.parameters.into_iter().enumerate().map(parameter).collect();
        let (formats, running, is_done) = (bind.column_formats, None, false);
        let portal = Portal { prepared, parameters, formats, running, is_done };
        if bind.portal.is_empty() {
            self.state.portals.remove("");
        }
        self.state.open(bind.portal, portal)
    }

    fn describe(&mut self, named: &Named) -> Result<(), Failure> {
        let (prepared, formats) = match named {
            Named::Statement(name) => {
                let prepared = self.state.statements.get(name).ok_or_else(|| missing(name))?;
                reply::parameters(&mut self.wire.out, prepared.types());
                (Arc::clone(prepared), Vec::new())
            }
            Named::Portal(name) => {
                let portal = self.state.portals.get(name).ok_or_else(|| no_portal(name))?;
                (Arc::clone(&portal.prepared), portal.formats.clone())
            }
        };
        let out: &mut BytesMut = &mut self.wire.out;
        match prepared.as_ref() {
            Prepared::Question { schema, .. } => {
                reply::columns(out, &column::fields(schema, &formats));
            }
            Prepared::Order(Order::Show(name)) => {
                let (name, _) = self.shown(name)?;
                reply::columns(&mut self.wire.out, &[text_column(name)]);
            }
            Prepared::Order(Order::Fetch { name, .. }) => self.describe_cursor(name)?,
            Prepared::Order(_) | Prepared::Empty => reply::bare(out, reply::NO_DATA),
        }
        Ok(())
    }

    /// Execute: rows of a portal.
    async fn fetch(&mut self, name: String, rows_max: u32) -> Result<(), Ended> {
        let mut portal = self.state.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let result = self.fetch_from(&mut portal, rows_max).await;
        // An order may have ended what the portal was in.
        let is_order = matches!(portal.prepared.as_ref(), Prepared::Order(_));
        if result.is_ok() && !is_order {
            self.state.portals.insert(name, portal);
        }
        result
    }

    async fn fetch_from(&mut self, portal: &mut Portal, rows_max: u32) -> Result<(), Ended> {
        match portal.prepared.as_ref() {
            Prepared::Empty => {
                reply::bare(&mut self.wire.out, reply::EMPTY_QUERY);
                return Ok(());
            }
            Prepared::Order(order) => {
                self.state.check(Some(order))?;
                return Box::pin(self.order(order.clone(), false)).await;
            }
            Prepared::Question { .. } => {}
        }
        self.state.check(None)?;
        let (progress, rows) = self.advance(portal, rows_max).await?;
        match progress {
            Progress::More => reply::bare(&mut self.wire.out, reply::SUSPENDED),
            Progress::Done => reply::complete(&mut self.wire.out, &format!("SELECT {rows}")),
        }
        Ok(())
    }

    /// Sends rows of a question's portal, all that are left for 0; how many there were.
    pub(super) async fn advance(
        &mut self,
        portal: &mut Portal,
        rows_max: u32,
    ) -> Result<(Progress, u64), Ended> {
        let Prepared::Question { sql, .. } = portal.prepared.as_ref() else {
            return Ok((Progress::Done, 0));
        };
        if portal.is_done {
            return Ok((Progress::Done, 0));
        }
        let place = self.place.clone();
        let cancel = place.cancelled();
        tokio::pin!(cancel);
        let mut running = if let Some(running) = portal.running.take() {
            running
        } else {
            let wanted = Wanted::Rows { formats: portal.formats.clone(), described: false };
            self.ask(sql, portal.parameters.clone(), wanted, cancel.as_mut()).await?
        };
        let before = running.rows;
        let progress = self.rows(&mut running, rows_max, cancel).await?;
        let rows = running.rows - before;
        match progress {
            Progress::More => portal.running = Some(running),
            Progress::Done => portal.is_done = true,
        }
        Ok((progress, rows))
    }
}

pub(super) fn no_portal(name: &str) -> Failure {
    Failure::new("34000", format!("portal \"{name}\" does not exist"))
}
