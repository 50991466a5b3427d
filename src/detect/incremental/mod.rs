//! Grouped windows without asking them again: the query's groups are kept as keys, each with the
//! partial aggregates of its panes, and only what a batch touches is worked out.
//!
//! [`plan`] takes a query apart, [`aggregate`] adds up, [`table`] keeps the keys, [`windowed`]
//! puts panes together to windows and says what follows.

pub(crate) mod aggregate;
mod answers;
mod argument;
mod column;
pub(crate) mod distinct;
pub(crate) mod plan;
pub(crate) mod table;
pub(crate) mod windowed;
