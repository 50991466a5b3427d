//! One binary: each test binary links the query engine again.

mod auth;
