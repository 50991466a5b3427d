//! Questions that are not begun: they are written down with those that are.

use std::sync::Arc;

use super::{QueryError, QueryService};
use crate::query::asker::Asker;
use crate::query::statement;

impl QueryService {
    /// Refuses a statement that is longer than any that is read, and writes down that it was asked.
    pub(super) async fn check_length(&self, asker: &Asker, sql: &str) -> Result<(), QueryError> {
        match statement::check_length(sql) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refused(asker, sql, None, error).await),
        }
    }

    /// Writes down a question that was not begun, and why; gives that back.
    pub(super) async fn refused(
        &self,
        asker: &Asker,
        sql: &str,
        parameters: Option<String>,
        error: QueryError,
    ) -> QueryError {
        if let (Some(log), Some(runtime)) = (&self.log, &self.runtime) {
            let (log, asker) = (Arc::clone(log), asker.clone());
            let (sql, why) = (sql.to_owned(), error.to_string());
            // Whoever is refused waits for the disk, and nobody else.
            let written = runtime.spawn_blocking(move || {
                log.refuse(&asker.name, asker.wire, &sql, parameters.as_deref(), &why);
            });
            let _ = written.await;
        }
        error
    }
}
