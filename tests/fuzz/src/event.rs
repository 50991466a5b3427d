//! The vocabulary that rows are made of.

#[path = "../../../src/event/cluster.rs"]
pub mod cluster;

#[path = "../../../src/event/digest.rs"]
pub mod digest;

#[path = "../../../src/event/rows.rs"]
pub mod rows;

#[path = "../../../src/event/schema.rs"]
pub mod schema;

#[path = "../../../src/event/time.rs"]
pub mod time;

pub use cluster::ClusterName;
pub use digest::{EventDigest, EventId};
pub use rows::{EventRow, Rows};
pub use schema::{COLUMNS, Column, Form, events_schema};
