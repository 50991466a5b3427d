//! From a statement to the plan that answers it. It does not give way while it works: to be called
//! where it can be left.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::postgres::catalog::Names;
use super::postgres::parameter::{self, Parameter};
use super::postgres::rewrite;
use super::service::QueryError;
use super::statement;
use crate::sql::meter::Meter;
use crate::sql::within::Bounded;

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
    /// The same from a client that sends values rather than bytes.
    pub(super) values: Vec<ScalarValue>,
    /// Of a client of PostgreSQL: what its catalogue has.
    pub(super) names: Option<Arc<Names>>,
}

impl Question {
    /// A text as the engine reads it.
    pub(super) fn plain(sql: &str) -> Self {
        Self { sql: sql.to_owned(), parameters: Vec::new(), values: Vec::new(), names: None }
    }

    /// The values of its parameters, a JSON list of texts; `None` without any.
    pub(super) fn shown(&self) -> Option<String> {
        let bytes = self.parameters.iter().map(Parameter::shown);
        let values = self.values.iter().map(|value| Some(value.to_string()));
        let shown: Vec<Option<String>> = bytes.chain(values).collect();
        (!shown.is_empty()).then(|| serde_json::to_string(&shown).unwrap_or_default())
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
        let given = question.parameters.len().max(question.values.len());
        if given < found || found < question.values.len() {
            let message =
                format!("there are {given} parameters, but the statement asks for {found}");
            return Err(QueryError::Wrong(message).into());
        }
        let values = if question.values.is_empty() {
            let values = types.into_iter().zip(&question.parameters);
            let values = values.map(|(planned, parameter)| {
                parameter.value(&parameter::settled(planned, parameter.declared.oid()))
            });
            let values = values.collect::<Result<Vec<_>, _>>();
            values.map_err(|failure| QueryError::Wrong(failure.message))?
        } else {
            types.into_iter().zip(&question.values).map(fitting).collect::<Result<Vec<_>, _>>()?
        };
        if found > 0 {
            plan = plan.with_param_values(values)?;
        }
    }
    Ok(context.execute_logical_plan(plan).await?.create_physical_plan().await?)
}

/// A value, as near to the type that the plan asks for as it can be.
fn fitting((planned, value): (Option<DataType>, &ScalarValue)) -> Result<ScalarValue, QueryError> {
    let planned = planned.filter(|planned| *planned != DataType::Null);
    let Some(wanted) = planned else { return Ok(value.clone()) };
    value.cast_to(&wanted).map_err(|_| QueryError::Wrong(format!("`{value}` is no {wanted}")))
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
    let explained = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    if explained && state.config().get_extension::<Bounded>().is_some() {
        let message = "EXPLAIN tells of rows of all clusters, and you see some";
        return Err(QueryError::Wrong(message.to_owned()).into());
    }
    Ok(plan)
}
