//! Questions of analysts: read-only SQL over everything that is kept.

pub mod asker;
mod catalogue;
mod error;
pub mod flight;
pub mod format;
mod incidents;
mod noted;
mod planning;
pub mod postgres;
pub(crate) mod questions;
mod run;
pub mod service;
mod statement;
pub(crate) mod tables;
