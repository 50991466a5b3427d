//! A delivery in, rows and quarantined pieces out.
//!
//! Promise: [`Decoder::decode`] has no error. It reads what can be read, in the order of the
//! body, and hands back the rest whole.
//!
//! Never: no state goes from one delivery to the next but the capacity of buffers, so the rows
//! of a delivery depend on the delivery alone.

use super::cloud::{self, Found, Unpacker, Unwrapped};
use super::envelope::{Piece, Pieces};
use super::format::Format;
use super::outline::Outline;
use super::quarantine::{Flaw, Quarantine, Quarantined, Reason, Span, Wrapped};
use super::scan::{Scanner, skip_space};
use super::shape::Wrapping;
use super::tape::EventReader;
use crate::event::Rows;

/// Buffers that grew beyond this, in bytes of the largest event, are given back.
const KEPT_EVENT_BYTES_MAX: usize = 4 << 20;

/// Rows of more bytes than this are handed on before more are read.
pub const ROWS_BYTES_MAX: usize = 64 << 20;

/// What a delivery's packed records may come to when they are unpacked, in bytes.
pub const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// The bytes of one delivery, and what is known of them from the way they came.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The cluster all events of the body belong to.
    pub cluster: &'a str,
    /// The way in: `webhook`, `file`, ... Rows from a cloud's wrapping say that cloud instead.
    pub source: &'a str,
    /// When the delivery arrived, in microseconds since 1970-01-01T00:00:00Z.
    pub received_at: i64,
    /// The body, not compressed.
    pub body: &'a [u8],
}

/// Decodes deliveries one after the other, with buffers it keeps.
pub struct Decoder {
    format: Format,
    unpacked_bytes_max: usize,
    scanner: Scanner,
    outline: Outline,
    reader: EventReader,
    passed_over: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            unpacked_bytes_max: UNPACKED_BYTES_MAX,
            scanner: Scanner::default(),
            outline: Outline::default(),
            reader: EventReader::default(),
            passed_over: 0,
        }
    }
}

impl Decoder {
    /// A decoder with empty buffers that tells formats by shape.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on deliveries are of this format.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// From now on the packed records of one delivery may unpack to so many bytes together;
    /// what is more is quarantined packed.
    pub fn set_unpacked_bytes_max(&mut self, bytes: usize) {
        self.unpacked_bytes_max = bytes;
    }

    /// How many records of clouds' wrappings were no audit events, and were not meant to be
    /// (control messages, other log categories), since this was last asked.
    pub fn take_passed_over(&mut self) -> usize {
        std::mem::take(&mut self.passed_over)
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
        let mut walk = Walk {
            delivery,
            unpacker: Unpacker::new(self.unpacked_bytes_max),
            decoder: self,
            rows,
            quarantine: Quarantine::new(delivery, quarantined),
            full: &mut full,
            largest: 0,
        };
        walk.body(delivery.body, None);
        if walk.largest > KEPT_EVENT_BYTES_MAX {
            self.outline = Outline::default();
            self.reader = EventReader::default();
        }
    }
}

/// One delivery while it is being decoded.
struct Walk<'w, 'd> {
    decoder: &'w mut Decoder,
    delivery: &'d Delivery<'d>,
    rows: &'w mut Rows,
    quarantine: Quarantine<'d, 'w>,
    full: &'w mut dyn FnMut(&mut Rows),
    unpacker: Unpacker,
    largest: usize,
}

/// What the bytes at hand were wrapped in.
#[derive(Clone, Copy)]
struct Outer {
    start: usize,
    source: &'static str,
}

impl Walk<'_, '_> {
    /// Reads a body, or what was packed in one. What is packed twice is not unpacked, so this
    /// calls itself once.
    fn body(&mut self, body: &[u8], outer: Option<Outer>) {
        let mut pieces = Pieces::new(body, self.decoder.format);
        while let Some(piece) = pieces.next(&mut self.decoder.scanner, &mut self.decoder.outline) {
            match piece {
                Piece::Bad { span, flaw } => self.flaw(body, span, outer, flaw),
                Piece::Object { span } => self.event(body, span, outer),
                Piece::Cloud { span, wrapping: Wrapping::LogEntry } => {
                    self.log_entry(body, span, outer);
                }
                Piece::Cloud { span, wrapping } => self.wrapping(body, span, wrapping, outer),
            }
            if self.rows.bytes() >= ROWS_BYTES_MAX {
                (self.full)(self.rows);
            }
        }
    }

    /// An object whose outline was just written.
    fn event(&mut self, body: &[u8], span: Span, outer: Option<Outer>) {
        let bytes = body.get(span.start..span.end).unwrap_or_default();
        self.largest = self.largest.max(bytes.len());
        let source = outer.map_or(self.delivery.source, |outer| outer.source);
        let delivery = Delivery { source, ..*self.delivery };
        let Decoder { reader, outline, .. } = &mut *self.decoder;
        match reader.read(&delivery, bytes, outline, self.rows) {
            Ok(None) => self.quarantine.event(),
            Ok(Some(flaw)) => {
                self.quarantine.event();
                self.flaw(body, span, outer, flaw);
                self.quarantine.event();
            }
            Err(flaw) => self.flaw(body, span, outer, flaw),
        }
    }

    fn flaw(&mut self, body: &[u8], span: Span, outer: Option<Outer>, flaw: Flaw) {
        match outer {
            None => self.quarantine.push(span, flaw),
            Some(Outer { start, source }) => {
                let bytes = body.get(span.start..span.end).unwrap_or_default();
                self.quarantine
                    .push_wrapped(Wrapped { wrapping_start: start, source, bytes }, flaw);
            }
        }
    }

    fn log_entry(&mut self, body: &[u8], span: Span, outer: Option<Outer>) {
        let bytes = body.get(span.start..span.end).unwrap_or_default();
        let delivery = Delivery { source: cloud::GKE, ..*self.delivery };
        let scanner = &mut self.decoder.scanner;
        let read = Unwrapped::read(bytes, scanner)
            .and_then(|entry| cloud::log_entry(&delivery, &entry, self.rows));
        match read {
            Ok(true) => self.quarantine.event(),
            Ok(false) => self.decoder.passed_over += 1,
            Err(flaw) => self.flaw(body, span, outer, flaw),
        }
    }

    fn wrapping(&mut self, body: &[u8], span: Span, wrapping: Wrapping, outer: Option<Outer>) {
        let bytes = body.get(span.start..span.end).unwrap_or_default();
        let start = outer.map_or(span.start, |outer| outer.start);
        if wrapping == Wrapping::Packed {
            return self.packed(bytes, start, outer);
        }
        let unwrapped = match Unwrapped::read(bytes, &mut self.decoder.scanner) {
            Ok(unwrapped) => unwrapped,
            Err(flaw) => return self.flaw(body, span, outer, flaw),
        };
        cloud::unwrap(wrapping, &unwrapped, &mut |found| match found {
            Found::Event { text, source } => {
                self.text(text.as_bytes(), Outer { start, source });
            }
            Found::Packed(text) => self.packed(text.as_bytes(), start, outer),
            Found::PassedOver => self.decoder.passed_over += 1,
            Found::Bad { raw, source, flaw } => {
                let piece = Wrapped { wrapping_start: start, source, bytes: raw.as_bytes() };
                self.quarantine.push_wrapped(piece, flaw);
            }
        });
    }

    /// A text that should be one event.
    fn text(&mut self, text: &[u8], outer: Outer) {
        let Decoder { scanner, outline, .. } = &mut *self.decoder;
        let whole = Span { start: 0, end: text.len() };
        match outline.object(scanner, text) {
            Ok(end) if text.starts_with(b"{") && skip_space(text, end) == text.len() => {
                self.event(text, whole, Some(outer));
            }
            _ => self.flaw(text, whole, Some(outer), cloud::no_event(text)),
        }
        if self.rows.bytes() >= ROWS_BYTES_MAX {
            (self.full)(self.rows);
        }
    }

    fn packed(&mut self, text: &[u8], start: usize, outer: Option<Outer>) {
        let inner = Outer { start, source: cloud::EKS };
        let unpacked = match outer {
            None => self.unpacker.unpack(text),
            Some(_) => Err(Flaw::new(Reason::BadPacking, "packed twice")),
        };
        match unpacked {
            Ok(unpacked) => self.body(&unpacked, Some(inner)),
            Err(flaw) => self.flaw(text, Span { start: 0, end: text.len() }, Some(inner), flaw),
        }
    }
}

#[cfg(test)]
mod tests;
