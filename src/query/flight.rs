//! Flight SQL: clients with ADBC or JDBC ask the same tables and get Arrow.
//!
//! ```text
//! http::flight ── here ── handle.rs ── service ── rows.rs ── http::flight
//! who, bounds       └─ listing.rs   what there is
//! ```
//!
//! Promise: one engine, one set of limits: a question here runs, waits, is cut short and is stopped
//! as one over HTTP, and its rows leave as they come. Nothing is kept between two calls: handles
//! and tickets hold all there is to know, so no client can name another's. Never: an answer that
//! was cut short and ends without an error.

mod handle;
mod listing;
mod refusal;
pub(super) mod rows;
mod value;

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionCreatePreparedSubstraitPlanRequest, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt as _, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
pub use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use self::handle::Handle;
use self::refusal::refusal;
use self::value::values;
use super::asker::Asker;
use super::planning::Described;
use super::postgres::{Counts, Happened};
use super::service::QueryService;

/// Longest message of a client: a statement with its parameters, and what is around them.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Where a client turns a password into a token: its message has no end of its own.
pub const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

const READ_ONLY: &str = "only questions are answered: nothing here changes data";
const NO_TRANSACTIONS: &str = "there are no transactions: every question stands alone";
const NO_PLANS: &str = "questions are asked in SQL, not as Substrait plans";

type Info = Result<Response<FlightInfo>, Status>;
type Data = Result<Response<<Wire as FlightService>::DoGetStream>, Status>;
type Ask = Request<FlightDescriptor>;
type Fetch = Request<Ticket>;
type Put = Request<PeekableFlightDataStream>;

/// The calls of Flight SQL, answered by this service; who asks is known before.
pub fn routes(query: Arc<QueryService>, counts: Counts) -> Routes {
    let service = FlightServiceServer::new(Wire { query, counts });
    Routes::new(service.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

struct Wire {
    query: Arc<QueryService>,
    counts: Counts,
}

impl Wire {
    /// What a statement asks for and gives.
    async fn describe(&self, asker: &Asker, sql: &str) -> Result<Described, Status> {
        self.query.describe(asker, sql, Vec::new()).await.map_err(|error| refusal(&error))
    }

    /// What a statement gives, to be fetched with this ticket.
    async fn info(&self, sql: &str, ticket: Bytes, request: Ask) -> Info {
        let described = self.describe(asker(&request)?, sql).await?;
        info(&rows::told(&described.schema), ticket, request)
    }

    /// The rows of a statement.
    async fn answer(&self, asker: &Asker, handle: &Handle) -> Data {
        let answer = async {
            let values = values(handle).await?;
            let answer = self.query.ask_as_flight(asker, &handle.sql, values).await;
            answer.map_err(|error| refusal(&error))
        };
        let answer = answer.await;
        (self.counts)(if answer.is_ok() { Happened::Answered } else { Happened::Failed });
        Ok(Response::new(Box::pin(rows::messages(answer?))))
    }

    async fn tables(
        &self,
        asker: &Asker,
        command: CommandGetTables,
    ) -> Result<RecordBatch, Status> {
        let tables = self.query.tables(asker).await.map_err(|error| refusal(&error))?;
        listing::tables(command, &tables)
    }
}

/// Who asks, as whoever let the request in says.
fn asker<T>(request: &Request<T>) -> Result<&Asker, Status> {
    let unknown = || Status::internal("nobody said who asks");
    request.extensions().get::<Asker>().ok_or_else(unknown)
}

/// What a call will give, to be fetched with this ticket.
fn info(schema: &Schema, ticket: Bytes, request: Ask) -> Info {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new().try_with_schema(schema).map_err(FlightError::from)?;
    let info = info.with_endpoint(endpoint).with_descriptor(request.into_inner());
    Ok(Response::new(info))
}

/// The same of a list, whose ticket is the command itself.
fn list(batch: Result<RecordBatch, Status>, request: Ask) -> Info {
    let ticket = request.get_ref().cmd.clone();
    info(&batch?.schema(), ticket, request)
}

/// A list whole.
fn whole(batch: Result<RecordBatch, Status>) -> Data {
    Ok(Response::new(Box::pin(rows::whole(batch?))))
}

#[tonic::async_trait]
impl FlightSqlService for Wire {
    type FlightService = Self;

    /// Tells who was let in by a password the token to go on with: it is the password.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        const AUTHORIZATION: &str = "authorization";
        let bearer = request.metadata().get(AUTHORIZATION).cloned();
        let token = bearer.as_ref().and_then(|bearer| bearer.as_bytes().get("Bearer ".len()..));
        let payload = token.map(Bytes::copy_from_slice).unwrap_or_default();
        let said = HandshakeResponse { protocol_version: 0, payload };
        let mut response = Response::new(stream::iter([Ok(said)]).boxed());
        if let Some(bearer) = bearer {
            response.metadata_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Ask,
    ) -> Info {
        no_transaction(command.transaction_id.as_ref())?;
        let statement_handle = Handle::of(&command.query).encode_to_vec().into();
        let ticket = TicketStatementQuery { statement_handle }.as_any().encode_to_vec();
        self.info(&command.query, ticket.into(), request).await
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Fetch) -> Data {
        self.answer(asker(&request)?, &Handle::read(ticket.statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        no_transaction(command.transaction_id.as_ref())?;
        let described = self.describe(asker(&request)?, &command.query).await?;
        let parameter = |(number, data_type): (usize, &DataType)| {
            Field::new(format!("${number}"), rows::told_type(data_type), true)
        };
        let parameters: Vec<Field> = (1..).zip(&described.parameters).map(parameter).collect();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Handle::of(&command.query).encode_to_vec().into(),
            dataset_schema: rows::encapsulated(&rows::told(&described.schema))?,
            parameter_schema: rows::encapsulated(&Schema::new(parameters))?,
        })
    }

    /// Nothing was kept.
    async fn do_action_close_prepared_statement(
        &self,
        _command: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Put,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let handle = Handle::read(command.prepared_statement_handle)?;
        let handle = handle.with_parameters(request.into_inner()).await?;
        values(&handle).await?;
        let prepared_statement_handle = Some(handle.encode_to_vec().into());
        Ok(DoPutPreparedStatementResult { prepared_statement_handle })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Ask,
    ) -> Info {
        let ticket = request.get_ref().cmd.clone();
        let handle = Handle::read(command.prepared_statement_handle)?;
        self.info(&handle.sql, ticket, request).await
    }

    async fn do_get_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Fetch,
    ) -> Data {
        self.answer(asker(&request)?, &Handle::read(command.prepared_statement_handle)?).await
    }

    async fn get_flight_info_catalogs(&self, command: CommandGetCatalogs, request: Ask) -> Info {
        list(listing::catalogs(command), request)
    }

    async fn do_get_catalogs(&self, command: CommandGetCatalogs, _: Fetch) -> Data {
        whole(listing::catalogs(command))
    }

    async fn get_flight_info_schemas(&self, command: CommandGetDbSchemas, request: Ask) -> Info {
        list(listing::schemas(command), request)
    }

    async fn do_get_schemas(&self, command: CommandGetDbSchemas, _: Fetch) -> Data {
        whole(listing::schemas(command))
    }

    async fn get_flight_info_tables(&self, command: CommandGetTables, request: Ask) -> Info {
        list(self.tables(asker(&request)?, command).await, request)
    }

    async fn do_get_tables(&self, command: CommandGetTables, request: Fetch) -> Data {
        whole(self.tables(asker(&request)?, command).await)
    }

    async fn get_flight_info_table_types(&self, _: CommandGetTableTypes, request: Ask) -> Info {
        list(listing::table_types(), request)
    }

    async fn do_get_table_types(&self, _: CommandGetTableTypes, _: Fetch) -> Data {
        whole(listing::table_types())
    }

    async fn get_flight_info_sql_info(&self, command: CommandGetSqlInfo, request: Ask) -> Info {
        list(listing::sql_info(&command), request)
    }

    async fn do_get_sql_info(&self, command: CommandGetSqlInfo, _: Fetch) -> Data {
        whole(listing::sql_info(&command))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        command: CommandGetXdbcTypeInfo,
        request: Ask,
    ) -> Info {
        list(listing::xdbc_types(command), request)
    }

    async fn do_get_xdbc_type_info(&self, command: CommandGetXdbcTypeInfo, _: Fetch) -> Data {
        whole(listing::xdbc_types(command))
    }

    async fn get_flight_info_primary_keys(&self, _: CommandGetPrimaryKeys, request: Ask) -> Info {
        list(Ok(listing::no_primary_keys()), request)
    }

    async fn do_get_primary_keys(&self, _: CommandGetPrimaryKeys, _: Fetch) -> Data {
        whole(Ok(listing::no_primary_keys()))
    }

    async fn get_flight_info_exported_keys(&self, _: CommandGetExportedKeys, request: Ask) -> Info {
        list(Ok(listing::no_foreign_keys()), request)
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Fetch) -> Data {
        whole(Ok(listing::no_foreign_keys()))
    }

    async fn get_flight_info_imported_keys(&self, _: CommandGetImportedKeys, request: Ask) -> Info {
        list(Ok(listing::no_foreign_keys()), request)
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Fetch) -> Data {
        whole(Ok(listing::no_foreign_keys()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Ask,
    ) -> Info {
        list(Ok(listing::no_foreign_keys()), request)
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Fetch) -> Data {
        whole(Ok(listing::no_foreign_keys()))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Put,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Put,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Put,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(READ_ONLY))
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Put,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(NO_PLANS))
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Ask,
    ) -> Info {
        Err(Status::unimplemented(NO_PLANS))
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Err(Status::unimplemented(NO_PLANS))
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(Status::unimplemented(NO_TRANSACTIONS))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

/// A question in a transaction is none of ours.
fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        Some(id) if !id.is_empty() => Err(Status::unimplemented(NO_TRANSACTIONS)),
        _ => Ok(()),
    }
}
