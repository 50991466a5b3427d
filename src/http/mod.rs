//! The only folder that knows axum: handlers decode, call, encode.

pub mod audit;
pub mod auth;
mod body;
pub mod findings;
pub mod flight;
pub mod health;
mod incidents;
pub mod routes;
pub mod server;
mod silences;
pub mod sql;
mod stream;
mod triage;
