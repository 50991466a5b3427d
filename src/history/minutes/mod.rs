//! Events per minute: counted when a file is written, kept in the file, read without its rows.

mod footer;
mod table;
mod tally;

pub(super) use self::footer::{KEY, written};
pub use self::table::MinutesTable;
pub(super) use self::tally::Tally;
