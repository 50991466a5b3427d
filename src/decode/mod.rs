//! Bytes of a delivery become rows of the events table.
//!
//! Promise: decoding cannot fail. Each byte of a delivery ends in a row, in a [`Quarantined`]
//! piece that is kept whole, or in the sound envelope around the events; what is damaged never
//! costs its neighbours more than the stretch up to where reading can start again.
//!
//! Never: nothing is guessed, no clock is read, no text is changed. Nesting costs no stack.
//!
//! ```text
//! body ── envelope: pieces ── tape: one event ──> event::Rows
//!            │                   │
//!            └───────────────────┴──> Vec<Quarantined>
//! ```

/// A delivery in, rows and quarantined pieces out.
pub mod decoder;

/// Where the events are in a body.
mod envelope;

/// What could not be read, whole, with the reason.
pub mod quarantine;

/// Where reading can start again after damage.
mod resume;

/// Where JSON values end, without reading them.
mod scan;

/// What an object at the top of a body is.
mod shape;

/// One event's bytes to one row.
mod tape;

/// RFC 3339 texts to microseconds.
mod timestamp;

pub use decoder::{Decoder, Delivery, ROWS_BYTES_MAX};
pub use quarantine::{Quarantined, Reason};
