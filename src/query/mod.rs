//! Questions of analysts: read-only SQL over everything that is kept.

pub mod format;
mod planning;
pub mod service;
mod statement;
pub(crate) mod tables;
