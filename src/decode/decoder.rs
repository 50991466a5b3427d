//! A delivery in, rows and quarantined pieces out.
//!
//! Promise: [`Decoder::decode`] has no error. It reads what can be read, in the order of the
//! body, and hands back the rest whole.
//!
//! Never: no state goes from one delivery to the next but the capacity of buffers, so the rows
//! of a delivery depend on the delivery alone.

use std::str;

use super::envelope::{Piece, Pieces};
use super::quarantine::{Flaw, Quarantine, Quarantined, Reason, Span};
use super::scan::{Member, Scanner};
use super::tape::EventReader;
use crate::event::Rows;

/// Buffers that grew beyond this, in bytes of the largest event, are given back.
const KEPT_EVENT_BYTES_MAX: usize = 4 << 20;

/// The bytes of one delivery, and what is known of them from the way they came.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The cluster all events of the body belong to.
    pub cluster: &'a str,
    /// The way in: `webhook`, `file`, ...
    pub source: &'a str,
    /// When the delivery arrived, in microseconds since 1970-01-01T00:00:00Z.
    pub received_at: i64,
    /// The body, not compressed.
    pub body: &'a [u8],
}

/// Rows of more bytes than this are handed on before more are read.
pub const ROWS_BYTES_MAX: usize = 64 << 20;

/// Decodes deliveries one after the other, with buffers it keeps.
#[derive(Default)]
pub struct Decoder {
    scanner: Scanner,
    members: Vec<Member>,
    reader: EventReader,
}

impl Decoder {
    /// A decoder with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a row for each event of the delivery to `rows`, and what is no event to
    /// `quarantined`; returns the number of rows appended. An empty body gives neither.
    pub fn decode(
        &mut self,
        delivery: &Delivery<'_>,
        rows: &mut Rows,
        quarantined: &mut Vec<Quarantined>,
    ) -> usize {
        let rows_before = rows.len();
        self.decode_in_parts(delivery, rows, quarantined, |_| {});
        rows.len() - rows_before
    }

    /// As [`Self::decode`], but calls `full` whenever `rows` has come to [`ROWS_BYTES_MAX`], to
    /// empty it: small events become large rows, and a hostile body must not fill the memory.
    pub fn decode_in_parts(
        &mut self,
        delivery: &Delivery<'_>,
        rows: &mut Rows,
        quarantined: &mut Vec<Quarantined>,
        mut full: impl FnMut(&mut Rows),
    ) {
        let mut quarantine = Quarantine::new(delivery, quarantined);
        let mut largest = 0;
        let mut pieces = Pieces::new(delivery.body);
        while let Some(piece) = pieces.next(&mut self.scanner, &mut self.members) {
            match piece {
                Piece::Bad { span, flaw } => quarantine.push(span, flaw),
                Piece::Object { span, depth } => {
                    largest = largest.max(span.end - span.start);
                    match self.read(delivery, span, depth, rows) {
                        Ok(()) => {
                            quarantine.event();
                            if rows.bytes() >= ROWS_BYTES_MAX {
                                full(rows);
                            }
                        }
                        Err(flaw) => quarantine.push(span, flaw),
                    }
                }
            }
        }
        if largest > KEPT_EVENT_BYTES_MAX {
            *self = Self::new();
        }
    }

    fn read(
        &mut self,
        delivery: &Delivery<'_>,
        span: Span,
        depth: usize,
        rows: &mut Rows,
    ) -> Result<(), Flaw> {
        let bytes = delivery.body.get(span.start..span.end).unwrap_or_default();
        let text = str::from_utf8(bytes).map_err(|error| {
            let at = span.start + error.valid_up_to();
            Flaw::new(Reason::MalformedJson, format!("not UTF-8 at byte {at} of the body"))
        })?;
        self.reader.read(delivery, text, depth, &self.members, rows)
    }
}

#[cfg(test)]
mod tests;
