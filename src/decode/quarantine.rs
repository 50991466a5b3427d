//! What could not be read, whole, with the reason.
//!
//! Promise: the bytes are kept exactly as received, with their place in the body.
//!
//! Never: a piece is never shortened, and pieces of one delivery never overlap.

use std::fmt;

use super::decoder::Delivery;

/// After this many pieces of one delivery, pieces that follow each other directly are kept as
/// one, so that a body of millions of tiny values does not cost a multiple of its size.
const PIECES_APART_MAX: usize = 1_000;

/// A piece of a delivery that is not a readable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The cluster of the delivery.
    pub cluster: String,
    /// The way in of the delivery: `webhook`, `file`, ...
    pub source: String,
    /// When the delivery arrived, in microseconds since 1970-01-01T00:00:00Z.
    pub received_at: i64,
    /// Why it is here.
    pub reason: Reason,
    /// What exactly was found, for a human.
    pub detail: String,
    /// Where the piece starts in the body, in bytes. For a piece from within a cloud's wrapping:
    /// where the wrapping does.
    pub offset: usize,
    /// The piece, whole; from within a wrapping, unwrapped. Empty only where a body stops between
    /// two events of an unclosed list.
    pub bytes: Vec<u8>,
}

/// Why a piece is not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// JSON, but not an object with a non-empty text `auditID`.
    NotAnEvent,
    /// Not JSON, or not UTF-8.
    MalformedJson,
    /// An event in which a known field has a type that the API server never writes.
    WrongType,
    /// An event whose values nest too deeply.
    TooDeep,
    /// A body of an event is not JSON, or not UTF-8. The event has a row all the same.
    MalformedBody,
    /// An event that its sender cut off; its `auditID` is in the detail if it could be found.
    TruncatedEvent,
    /// The packing around events (base64, gzip) is broken, or larger inside than allowed.
    BadPacking,
}

impl Reason {
    /// The name for metric labels and for the `quarantine` table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnEvent => "not_an_event",
            Self::MalformedJson => "malformed_json",
            Self::WrongType => "wrong_type",
            Self::TooDeep => "too_deep",
            Self::MalformedBody => "malformed_body",
            Self::TruncatedEvent => "truncated_event",
            Self::BadPacking => "bad_packing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a piece, before it is known which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Flaw {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A stretch of bytes, end excluded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A piece from within the wrapping that starts at a place in the body.
#[derive(Clone, Copy)]
pub(super) struct Wrapped<'p> {
    pub(super) wrapping_start: usize,
    pub(super) source: &'static str,
    pub(super) bytes: &'p [u8],
}

/// Collects the pieces of one delivery.
pub(super) struct Quarantine<'d, 'o> {
    delivery: &'d Delivery<'d>,
    out: &'o mut Vec<Quarantined>,
    pieces: usize,
    last: Last,
}

/// What came last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// An event, or nothing yet: the next piece stands alone.
    Event,
    /// A piece of the body that ended here.
    Piece { end: usize },
    /// A piece from within the wrapping that starts here.
    Wrapped { wrapping_start: usize },
}

impl<'d, 'o> Quarantine<'d, 'o> {
    pub(super) fn new(delivery: &'d Delivery<'d>, out: &'o mut Vec<Quarantined>) -> Self {
        Self { delivery, out, pieces: 0, last: Last::Event }
    }

    /// An event was read: what comes next does not continue the last piece.
    pub(super) fn event(&mut self) {
        self.last = Last::Event;
    }

    /// Keeps one piece. Spans come in the order of the body.
    pub(super) fn push(&mut self, span: Span, flaw: Flaw) {
        let body = self.delivery.body;
        if let Last::Piece { end } = self.last
            && let Some(last) = self.continued()
        {
            last.bytes.extend_from_slice(body.get(end..span.end).unwrap_or_default());
        } else {
            let bytes = body.get(span.start..span.end).unwrap_or_default();
            self.keep(self.delivery.source, span.start, bytes, flaw);
        }
        self.last = Last::Piece { end: span.end };
    }

    /// Keeps one piece from within a wrapping; those kept as one have a line each.
    pub(super) fn push_wrapped(&mut self, piece: Wrapped<'_>, flaw: Flaw) {
        let this = Last::Wrapped { wrapping_start: piece.wrapping_start };
        if self.last == this
            && let Some(last) = self.continued()
        {
            last.bytes.push(b'\n');
            last.bytes.extend_from_slice(piece.bytes);
        } else {
            self.keep(piece.source, piece.wrapping_start, piece.bytes, flaw);
        }
        self.last = this;
    }

    /// The last piece, once there are so many that it may go on.
    fn continued(&mut self) -> Option<&mut Quarantined> {
        if self.pieces < PIECES_APART_MAX {
            return None;
        }
        self.out.last_mut()
    }

    fn keep(&mut self, source: &str, offset: usize, bytes: &[u8], flaw: Flaw) {
        self.pieces += 1;
        self.out.push(Quarantined {
            cluster: self.delivery.cluster.to_owned(),
            source: source.to_owned(),
            received_at: self.delivery.received_at,
            reason: flaw.reason,
            detail: flaw.detail,
            offset,
            bytes: bytes.to_vec(),
        });
    }
}
