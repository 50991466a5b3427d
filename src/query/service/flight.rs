//! What clients of Flight SQL ask: the tables as clients of PostgreSQL see them, answers as
//! messages of Flight.

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;

use super::{Answer, QueryError, QueryService};
use crate::query::asker::{Asker, Sessions};
use crate::query::format::Written;
use crate::query::planning::Question;
use crate::query::postgres::catalog::{DATABASE, SCHEMA};

/// A table that can be asked.
#[derive(Debug)]
pub(in crate::query) struct Listed {
    pub(in crate::query) name: String,
    pub(in crate::query) is_view: bool,
    pub(in crate::query) schema: SchemaRef,
}

impl QueryService {
    /// As [`Self::ask`], with values for `$1`, `$2`, ...
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in crate::query) async fn ask_as_flight(
        &self,
        asker: &Asker,
        sql: &str,
        values: Vec<ScalarValue>,
    ) -> Result<Answer, QueryError> {
        self.check_length(asker, sql).await?;
        let Sessions { postgres, names, .. } = self.sessions(asker).await?;
        let question = Question { values, names: Some(names), ..Question::plain(sql) };
        self.answer(asker, postgres, question, Written::Flight).await
    }

    /// All that this asker sees of events and findings, by name.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(in crate::query) async fn tables(&self, asker: &Asker) -> Result<Vec<Listed>, QueryError> {
        let Sessions { postgres, .. } = self.sessions(asker).await?;
        let schema = postgres.catalog(DATABASE).and_then(|found| found.schema(SCHEMA));
        let Some(schema) = schema else { return Ok(Vec::new()) };
        let mut names = schema.table_names();
        names.sort_unstable();
        let mut listed = Vec::new();
        for name in names {
            if let Ok(Some(table)) = schema.table(&name).await {
                let is_view = table.table_type() == TableType::View;
                listed.push(Listed { name, is_view, schema: table.schema() });
            }
        }
        Ok(listed)
    }
}
