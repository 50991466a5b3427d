//! Questions of analysts: read-only SQL over everything that is kept.

mod catalogue;
pub mod format;
mod incidents;
mod planning;
pub mod service;
mod statement;
pub(crate) mod tables;
