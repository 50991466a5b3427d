//! Bytes of a delivery become rows of the events table.
//!
//! Promise: decoding cannot fail. Each byte of a delivery ends in a row, in a [`Quarantined`]
//! piece that is kept whole, or in the sound envelope around the events; what is damaged never
//! costs its neighbours more than the stretch up to where reading can start again.
//!
//! Never: nothing is guessed, no clock is read, no text is changed but where a body is not UTF-8.
//! Nesting costs no stack.
//!
//! ```text
//! body ── envelope: pieces ── outline: one object ── tape: one event ──> event::Rows
//!            │                   │                   │
//!            │                cloud: unwrap, unpack ─┤
//!            └───────────────────┴───────────────────┴──> Vec<Quarantined>
//! ```

// A delivery in, rows and quarantined pieces out.
pub mod decoder;

// Who sent a body, and what such a sender can show.
pub mod format;

// Where the events are in a body.
mod envelope;

// What clouds wrap around events.
mod cloud;

// An object of a body, written down as far as an event has columns.
mod outline;

// What could not be read, whole, with the reason.
pub mod quarantine;

// Where reading can start again after damage.
mod resume;

// Where JSON values end, without reading them.
mod scan;

// What an object at the top of a body is.
mod shape;

// One event's bytes to one row.
mod tape;

// RFC 3339 texts to microseconds.
mod timestamp;

pub use decoder::{Decoder, Delivery, ROWS_BYTES_MAX};
pub use format::{Fidelity, Format, fidelity};
pub use quarantine::{Quarantined, Reason};
