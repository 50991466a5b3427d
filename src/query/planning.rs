//! From a statement to the plan that answers it. It does not give way while it works: to be called
//! where it can be left.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::postgres::catalog::Names;
use super::postgres::parameter::{self, Parameter};
use super::postgres::rewrite;
use super::service::{QueryError, QueryService};
use super::statement;
use crate::sql::address::Addresses;
use crate::sql::functions::register_addresses;
use crate::sql::meter::Meter;

impl QueryService {
    /// Queries that are planned from now on know this of addresses.
    pub fn supply(&self, addresses: &Addresses) {
        register_addresses(&self.context, addresses);
        register_addresses(&self.postgres, addresses);
    }
}

/// Why there is no plan.
pub(super) enum Unplanned {
    /// It may not be asked.
    Refused(QueryError),
    /// The engine says why.
    Failed(DataFusionError),
}

impl From<QueryError> for Unplanned {
    fn from(error: QueryError) -> Self {
        Self::Refused(error)
    }
}

impl From<DataFusionError> for Unplanned {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// What is asked.
pub(super) struct Question {
    /// Its text.
    pub(super) sql: String,
    /// The values of `$1`, `$2`, ...
    pub(super) parameters: Vec<Parameter>,
    /// Of a client of PostgreSQL: what its catalogue has.
    pub(super) names: Option<Arc<Names>>,
}

impl Question {
    /// A text as the engine reads it.
    pub(super) fn plain(sql: &str) -> Self {
        Self { sql: sql.to_owned(), parameters: Vec::new(), names: None }
    }
}

/// What a statement asks for and gives.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// The types of `$1`, `$2`, ...
    pub(super) parameters: Vec<DataType>,
    /// Its columns.
    pub(super) schema: SchemaRef,
}

/// The plan of a statement that only asks.
///
/// # Errors
/// When it does more, is too large, or is wrong.
pub(super) async fn plan(
    context: &SessionContext,
    question: &Question,
) -> Result<Arc<dyn ExecutionPlan>, Unplanned> {
    let mut plan = logical(context, &question.sql, question.names.as_deref()).await?;
    if question.names.is_some() {
        let types = parameter::types(&plan)?;
        let found = types.len();
        if question.parameters.len() < found {
            let message = format!(
                "there are {} parameters, but the statement asks for {found}",
                question.parameters.len()
            );
            return Err(QueryError::Wrong(message).into());
        }
        let values = types.into_iter().zip(&question.parameters);
        let values = values.map(|(planned, parameter)| {
            parameter.value(&parameter::settled(planned, parameter.declared.oid()))
        });
        let values = values.collect::<Result<Vec<_>, _>>();
        let values = values.map_err(|failure| QueryError::Wrong(failure.message))?;
        if found > 0 {
            plan = plan.with_param_values(values)?;
        }
    }
    Ok(context.execute_logical_plan(plan).await?.create_physical_plan().await?)
}

/// What a statement asks for and gives; `declared` are the types that a client names, 0 for none.
///
/// # Errors
/// As [`plan`].
pub(super) async fn describe(
    context: &SessionContext,
    sql: &str,
    names: &Names,
    declared: &[u32],
) -> Result<Described, Unplanned> {
    let plan = logical(context, sql, Some(names)).await?;
    let types = parameter::types(&plan)?.into_iter().enumerate();
    let parameters = types
        .map(|(at, planned)| parameter::settled(planned, declared.get(at).copied().unwrap_or(0)))
        .collect();
    if let Some(meter) = context.state().config().get_extension::<Meter>() {
        meter.give_back();
    }
    Ok(Described { parameters, schema: Arc::clone(plan.schema().inner()) })
}

async fn logical(
    context: &SessionContext,
    sql: &str,
    names: Option<&Names>,
) -> Result<LogicalPlan, Unplanned> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    statement::check(&statement)?;
    if let Some(names) = names {
        rewrite::rewrite(&mut statement, names);
    }
    let plan = state.statement_to_plan(statement).await?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    Ok(plan)
}
