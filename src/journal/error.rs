//! What can go wrong with the journal, by what is to be done about it.

use std::io;

use super::record::Position;

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk has no room; it may have later.
    #[error("the disk is below its reserve")]
    Full,
    /// We are stopping; another start will take it.
    #[error("the journal is closed")]
    Closed,
    /// The disk failed. Whether the record is durable is unknown; only a restart can tell.
    #[error("the journal's disk failed")]
    Poisoned,
}

/// Why a journal cannot be opened; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read.
    #[error("read journal file `{name}`")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file is of another version.
    #[error(
        "journal file `{name}` is of format {found}, this version reads {known}: start the \
         version that wrote it, or move the journal aside"
    )]
    Version {
        /// The file.
        name: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Acknowledged records are missing.
    #[error(
        "journal file `{name}` is damaged: records {from} to {to} are missing; restore it from a \
         backup, or move it and all older ones aside to go on without them"
    )]
    Hole {
        /// The file that ends too early.
        name: String,
        /// The first position that is missing.
        from: Position,
        /// The first position that is there again.
        to: Position,
    },
}
