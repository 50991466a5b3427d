//! What can go wrong with history; the message says what to do.

use std::time::Duration;

use arrow::error::ArrowError;
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;

use crate::journal::Position;

/// Why history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The place is not understood.
    #[error("`{url}` is no place for a history: {why}")]
    Location {
        /// What was given.
        url: String,
        /// Why not.
        why: String,
    },
    /// The table at that place is not ours.
    #[error("the table at `{url}` is no history of auditmill: {why}; choose another place")]
    Foreign {
        /// The table.
        url: String,
        /// How that shows.
        why: String,
    },
    /// A file could not be copied.
    #[error("copy `{path}`")]
    Copy {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Files go away faster than they can be copied.
    #[error("the history changes faster than it can be copied; try again")]
    Restless,
    /// The table's log.
    #[error("the table's log: {0}")]
    Log(#[from] DeltaTableError),
    /// A file of the table.
    #[error("a file of the table: {0}")]
    File(#[from] object_store::Error),
    /// Encoding or decoding of a file.
    #[error("a file's encoding: {0}")]
    Encoding(#[from] ParquetError),
    /// Rows that do not fit together.
    #[error("rows: {0}")]
    Rows(#[from] ArrowError),
    /// The place takes its time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
    /// The place of a first start.
    #[error(
        "history at `{url}` cannot be reached: {why}; see `[history] url` and `[history.options]`"
    )]
    Unreachable {
        /// The table.
        url: String,
        /// Why not.
        why: String,
    },
    /// The journal lacks what history has.
    #[error(
        "history has all events up to journal record {history}, but the journal ends at \
         {journal}: they do not belong together; move the journal aside to go on with the history"
    )]
    Ahead {
        /// Up to where history is.
        history: Position,
        /// Up to where the journal is.
        journal: Position,
    },
    /// More clusters and days in one commit than can be numbered.
    #[error("events of more than a million clusters and days at once")]
    Scattered,
    /// The log of proofs.
    #[error("the log of proofs `{path}`: {why}")]
    Proof {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A question before the place was reached for the first time.
    #[error(
        "the history cannot be reached yet; it is tried again, and meanwhile the journal keeps \
         what comes"
    )]
    NotOpen,
    /// A question of our own.
    #[error("{0}")]
    Query(#[from] datafusion::error::DataFusionError),
}

/// Whether a question failed because the place of the files does not answer: the same may be
/// asked again later.
#[must_use]
pub fn is_away(error: &(dyn std::error::Error + 'static)) -> bool {
    // The reader of Parquet keeps the text of an error alone.
    if error.to_string().contains("Object Store error: Generic ") {
        return true;
    }
    let mut cause = Some(error);
    while let Some(error) = cause {
        let place = error.downcast_ref::<object_store::Error>();
        if place.is_some_and(|error| !matches!(error, object_store::Error::NotFound { .. }))
            || matches!(error.downcast_ref(), Some(HistoryError::NotOpen))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

impl HistoryError {
    /// Whether trying again is no use.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Location { .. } | Self::Foreign { .. } | Self::Ahead { .. })
    }
}
