//! Questions of analysts: read-only SQL over everything that is kept.

mod catalogue;
mod error;
pub mod flight;
pub mod format;
mod incidents;
mod planning;
pub mod postgres;
pub mod service;
mod statement;
pub(crate) mod tables;
