//! `auditmill sql`: questions to a server or to a data directory, once or in a conversation.
//!
//! Promise: for machines the bytes are the server's own; for people NULL, line ends and what would
//! steer a terminal can be told from text. Never: a token goes unencrypted to another machine.

mod ask;
mod asked;
mod completion;
mod gathered;
mod print;
mod run;
mod script;
mod shell;
mod source;

pub(super) use ask::{batches, rows};
pub(super) use asked::{Asked, failed};
pub(super) use gathered::Read;
pub use run::run;
pub(super) use source::AskError;
pub(super) use source::call;
