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
    /// Where the piece starts in the body, in bytes.
    pub offset: usize,
    /// The piece, whole. Empty only where a body stops between two events of an unclosed list.
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
    /// An event whose values nest too deeply to be parsed.
    TooDeep,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Collects the pieces of one delivery.
pub(super) struct Quarantine<'d, 'o> {
    delivery: &'d Delivery<'d>,
    out: &'o mut Vec<Quarantined>,
    pieces: usize,
    /// Where the last piece ended, while no event came after it.
    open_end: Option<usize>,
}

impl<'d, 'o> Quarantine<'d, 'o> {
    pub(super) fn new(delivery: &'d Delivery<'d>, out: &'o mut Vec<Quarantined>) -> Self {
        Self { delivery, out, pieces: 0, open_end: None }
    }

    /// An event was read: what comes next does not continue the last piece.
    pub(super) fn event(&mut self) {
        self.open_end = None;
    }

    /// Keeps one piece. Spans come in the order of the body.
    pub(super) fn push(&mut self, span: Span, flaw: Flaw) {
        let body = self.delivery.body;
        if let (true, Some(end), Some(last)) =
            (self.pieces >= PIECES_APART_MAX, self.open_end, self.out.last_mut())
        {
            last.bytes.extend_from_slice(body.get(end..span.end).unwrap_or_default());
        } else {
            self.out.push(Quarantined {
                cluster: self.delivery.cluster.to_owned(),
                source: self.delivery.source.to_owned(),
                received_at: self.delivery.received_at,
                reason: flaw.reason,
                detail: flaw.detail,
                offset: span.start,
                bytes: body.get(span.start..span.end).unwrap_or_default().to_vec(),
            });
        }
        self.pieces += 1;
        self.open_end = Some(span.end);
    }
}
