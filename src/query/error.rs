//! Why a question has no answer, in words for who asked it.

use std::time::Duration;

use datafusion::error::DataFusionError;

use super::statement;

/// Why a query gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong, or may not be asked; the message says where and why.
    #[error("{0}")]
    Wrong(String),
    /// The statement is longer than any that is read.
    #[error(
        "the statement has {bytes} bytes, more than the {} that are read: put values into one \
         range, pattern or join instead of a long list",
        statement::BYTES_MAX
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// As many queries as may run and wait do so already.
    #[error("too many queries at once: ask again later, or raise `[query] queue_max`")]
    Busy {
        /// When to ask again.
        after: Duration,
    },
    /// It took longer than `[query] timeout`.
    #[error("stopped after {}, the limit of `[query] timeout`", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The answer has more rows than `[query] rows_max`.
    #[error("more than {0} rows, the limit of `[query] rows_max`: narrow it down, or add LIMIT")]
    TooManyRows(usize),
    /// Beyond the memory of all queries.
    #[error(
        "{message}; all queries together have {} (`[query] memory`): ask about less time, group by \
         fewer columns, or add LIMIT", bytesize::ByteSize(*.memory_bytes as u64)
    )]
    Memory {
        /// Who wanted how much.
        message: String,
        /// What there is.
        memory_bytes: usize,
    },
    /// The place of the files does not answer.
    #[error("the history cannot be read now, ask again later or for newer events only: {message}")]
    Away {
        /// What it said, or did not.
        message: String,
        /// When to ask again.
        after: Duration,
    },
    /// A fault of ours.
    #[error("the query failed in an unforeseen way")]
    Broken,
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        Self::Wrong(statement::explained(&error.strip_backtrace()))
    }
}
