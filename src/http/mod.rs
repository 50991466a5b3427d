//! The only folder that knows axum: handlers decode, call, encode.

pub mod audit;
pub mod auth;
mod body;
pub mod findings;
pub mod health;
pub mod routes;
pub mod server;
pub mod sql;
mod stream;
