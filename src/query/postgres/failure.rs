//! Errors as clients are told them: a code of five characters (SQLSTATE), a message, a hint.

use super::message::Malformed;
use crate::query::service::QueryError;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whether the session ends with it.
    pub(crate) fatal: bool,
    /// PostgreSQL's code, appendix A of its manual.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: false, code, message: message.into(), hint: None }
    }

    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The client asked for it.
pub(super) fn cancelled() -> Failure {
    Failure::new("57014", "stopped, as the client asked")
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::fatal("08P01", error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let code = match &error {
            QueryError::Wrong(message) => code_of(message),
            QueryError::TooLong { .. } | QueryError::TooManyRows(_) => "54000",
            QueryError::Busy { .. } => "53000",
            QueryError::TimedOut(_) => "57014",
            QueryError::Memory { .. } => "53200",
            QueryError::Away { .. } => "58030",
            QueryError::Broken => "XX000",
        };
        let text = error.to_string();
        // What is wrong and what to do about it are one sentence elsewhere.
        let hint = match &error {
            QueryError::TimedOut(_) => Some("ask about less time, or raise `[query] timeout`"),
            _ => None,
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(code, text) }
    }
}

/// The code that clients look for; the engine has only texts.
fn code_of(message: &str) -> &'static str {
    let codes = [
        ("ParserError", "42601"),
        ("TokenizerError", "42601"),
        ("not found", "42P01"),
        ("No field named", "42703"),
        ("column ", "42703"),
        ("Invalid function", "42883"),
        ("Ambiguous", "42702"),
        ("DDL not supported", "25006"),
        ("DML not supported", "25006"),
        ("Statement not supported", "0A000"),
        ("not supported", "0A000"),
        ("not implemented", "0A000"),
        ("Divide by zero", "22012"),
        ("Cannot cast string", "22P02"),
        ("Error parsing timestamp", "22007"),
        ("overflow", "22003"),
        ("more than the", "54001"),
        ("Cast error", "22P02"),
    ];
    codes.iter().find(|(part, _)| message.contains(part)).map_or("42000", |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_has_a_code() {
        let check = |message: &str, code: &str| {
            assert_eq!(
                Failure::from(QueryError::Wrong(message.to_owned())).code,
                code,
                "{message}"
            );
        };
        check("Error during planning: table 'auditmill.public.x' not found", "42P01");
        check("Schema error: No field named nmae. Valid fields are events.name.", "42703");
        check("SQL error: ParserError(\"Expected: an expression\")", "42601");
        check("Error during planning: DDL not supported: DropTable", "25006");
        check("Arrow error: Divide by zero error", "22012");
        check("something else", "42000");
    }
}
