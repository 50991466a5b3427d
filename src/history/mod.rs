//! Rows that can be questioned: the newest in memory, the rest as Parquet files of a Delta table.
//!
//! [`hot`] holds decoded rows until [`flush`] has made files of them; [`events`] shows both as one
//! table. The table's [`log`] says which files there are, and each commit carries the journal
//! position below which the journal may forget: never before the files are durable.

pub mod copy;
pub mod error;
pub mod events;
pub mod evidence;
pub mod flush;
pub mod hot;
pub mod import;
pub mod location;
pub mod minutes;
pub mod opening;
pub mod recall;
pub mod redact;
pub mod replay;
pub mod slice;
pub mod upkeep;
pub mod verify;
pub mod whereabouts;
pub mod writer;

mod durable;
mod encode;
pub(crate) mod file;
mod known;
mod log;
mod proven;
mod prover;
mod stored;
mod wide;
