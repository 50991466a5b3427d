//! Questions of analysts: read-only SQL over everything that is kept.

pub mod service;
pub(crate) mod tables;
