//! The vocabulary: what an audit event is once it is a row.
//!
//! Promise: the events table has one schema, written down once, and everything that makes or reads
//! rows uses it. Equal bytes of an event in one cluster give an equal `event_id`, whichever way
//! they came in.
//!
//! Never: this folder parses nothing, reads no clock and knows no query engine.

// Whose events they are.
pub mod cluster;

// The content hash of an event: its identity for duplicates, evidence and order.
pub mod digest;

// Which rows of the past a state is made of.
pub mod lookback;

// Reading columns whose texts repeat.
pub mod repeating;

// Typed appends that become one Arrow batch.
pub mod rows;

// The events table, column by column.
pub mod schema;

// Which events have been seen lately.
pub mod seen;

// Timestamps as text.
pub mod time;

pub use cluster::{ClusterName, Clusters};
pub use digest::{EventDigest, EventId};
pub use rows::{EventRow, Rows};
pub use schema::{COLUMNS, Column, Form, events_schema};
