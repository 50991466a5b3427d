//! A question in the log of who asked what.

use std::sync::Arc;

use tokio::time::Instant;

use super::asker::Asker;
use super::error::QueryError;
use super::planning::Question;
use crate::findings::questions::{Outcome, QuestionLog};

/// A question that runs. When it is dropped it has ended; nobody is told of one that was stopped.
pub(super) struct Noted {
    log: Arc<QuestionLog>,
    number: Option<u64>,
    begun: Instant,
    outcome: Outcome,
    error: Option<String>,
    /// Rows of its answer until now.
    pub(super) rows: u64,
}

impl Noted {
    /// Writes down that somebody asks.
    pub(super) fn begin(log: Arc<QuestionLog>, asker: &Asker, question: &Question) -> Self {
        let parameters = question.shown();
        let number = log.begin(&asker.name, asker.wire, &question.sql, parameters.as_deref());
        let (begun, outcome) = (Instant::now(), Outcome::Stopped);
        Self { log, number, begun, outcome, error: None, rows: 0 }
    }

    /// It came to an end of its own.
    pub(super) fn ended(&mut self, done: &Result<(), QueryError>) {
        let well = done.is_ok();
        self.outcome = if well { Outcome::Answered } else { Outcome::Failed };
        self.error = done.as_ref().err().map(ToString::to_string);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.log.end(number, self.outcome, self.error.as_deref(), self.rows, micros);
    }
}
