//! From a statement to the plan that answers it. It does not give way while it works: to be called
//! where it can be left.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::service::QueryError;
use super::statement;

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

/// The plan of a statement that only asks.
///
/// # Errors
/// When it does more, is too large, or is wrong.
pub(super) async fn plan(
    context: &SessionContext,
    sql: &str,
) -> Result<Arc<dyn ExecutionPlan>, Unplanned> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect)?;
    statement::check(&statement)?;
    let plan = state.statement_to_plan(statement).await?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    Ok(context.execute_logical_plan(plan).await?.create_physical_plan().await?)
}
