//! One event's bytes to one row.
//!
//! Promise: a row says what the event says. Members without a column, and what is left of those
//! that have some, are in `other` as received, so that the event can be put together again; a
//! null, an empty text and an absent member are the same. Of a member that comes twice the first
//! has the column.
//!
//! Bodies of requests and responses never cost the row: one that is not JSON is a text like any
//! other, with U+FFFD where it is not UTF-8, and the event's bytes are quarantined beside it.
//!
//! Never: an event is not taken halfway. A known field of the wrong type refuses it whole.

mod escape;
mod fields;
mod leftovers;
mod nodes;

use std::str;

pub(super) use self::leftovers::Leftovers;
pub(super) use self::nodes::{Kind, Node, Source, Value, unescape};

use self::fields::Fields;

use super::decoder::Delivery;
use super::outline::Outline;
use super::quarantine::{Flaw, Reason};
use super::scan::Scanner;
use super::shape::Role;
use crate::event::{EventDigest, Rows};

/// Events that nest deeper outside of their bodies are refused: whoever reads `other` later may
/// use a stack.
const DEPTH_MAX: usize = 1_000;

/// Reads events one after the other, with buffers it keeps.
#[derive(Default)]
pub(super) struct EventReader {
    unescaped: String,
    leftovers: Leftovers,
}

impl EventReader {
    /// Appends the row of the event `bytes`, an object of this outline; appends nothing when it
    /// is refused. A row may come with a flaw in a body.
    pub(super) fn read(
        &mut self,
        delivery: &Delivery<'_>,
        bytes: &[u8],
        outline: &mut Outline,
        rows: &mut Rows,
    ) -> Result<Option<Flaw>, Flaw> {
        if outline.depth > DEPTH_MAX {
            let detail = format!("{} levels, at most {DEPTH_MAX} are read", outline.depth);
            return Err(Flaw::new(Reason::TooDeep, detail));
        }
        let Ok(text) = str::from_utf8(bytes) else {
            return self.read_mended(delivery, bytes, outline, rows);
        };
        self.push_row(delivery, text, None, outline, rows)?;
        let flaw = outline.body_flaw_at.map(|at| {
            Flaw::new(
                Reason::MalformedBody,
                format!("a body is not JSON at byte {at} of its event"),
            )
        });
        Ok(flaw)
    }

    /// An event that is not UTF-8: it has a row if only its bodies are at fault.
    fn read_mended(
        &mut self,
        delivery: &Delivery<'_>,
        bytes: &[u8],
        outline: &mut Outline,
        rows: &mut Rows,
    ) -> Result<Option<Flaw>, Flaw> {
        let mended = mend_bodies(bytes, &outline.nodes)?;
        // What took the place of bytes above ASCII is above ASCII: the structure is the same.
        let _ = outline.object(&mut Scanner::default(), mended.as_bytes());
        self.push_row(delivery, &mended, Some(bytes), outline, rows)?;
        Ok(Some(Flaw::new(Reason::MalformedBody, "a body is not UTF-8")))
    }

    /// `original` is what was received, where `text` is not.
    fn push_row(
        &mut self,
        delivery: &Delivery<'_>,
        text: &str,
        original: Option<&[u8]>,
        outline: &mut Outline,
        rows: &mut Rows,
    ) -> Result<(), Flaw> {
        let malformed =
            |at| Flaw::new(Reason::MalformedJson, format!("not JSON at byte {at} of the event"));
        outline.flaw_at.map_or(Ok(()), |at| Err(malformed(at)))?;
        self.unescaped.clear();
        unescape(&mut outline.nodes, text, &mut self.unescaped).map_err(malformed)?;
        self.leftovers.clear();
        let source = Source { text, unescaped: &self.unescaped };
        let mut digest = EventDigest::new(delivery.cluster);
        let mut fields = Fields::new(&mut self.leftovers);
        fields.read(source.members(&outline.nodes), text, &mut digest)?;
        if let Some(bytes) = original {
            // Texts that U+FFFD makes equal are not the same event. No JSON looks like this.
            digest.member("", &bytes.escape_ascii().to_string());
        }
        let Fields { mut row, stage_time, .. } = fields;
        let event_id = digest.finish();
        row.cluster = delivery.cluster;
        row.source = delivery.source;
        row.event_id = event_id.as_str();
        row.ingest_time = delivery.received_at;
        row.event_time = stage_time.or(row.request_time).unwrap_or(delivery.received_at);
        row.other = self.leftovers.finish();
        rows.push(&row);
        Ok(())
    }
}

/// The event with U+FFFD for what is not UTF-8 in its bodies; Err when other members are at fault.
fn mend_bodies(bytes: &[u8], nodes: &[Node]) -> Result<String, Flaw> {
    let part = |start: usize, end: usize| bytes.get(start..end).unwrap_or_default();
    let mut mended = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut done = 0;
    let mut at = 0;
    while let Some([key, value]) = nodes.get(at..at + 2) {
        at += 2 + value.kind.below();
        if Role::of(part(key.span.start, key.span.end)) == Role::Body {
            mended.push_str(sound(part(done, value.span.start), done)?);
            mended.push_str(&String::from_utf8_lossy(part(value.span.start, value.span.end)));
            done = value.span.end;
        }
    }
    mended.push_str(sound(part(done, bytes.len()), done)?);
    Ok(mended)
}

fn sound(part: &[u8], start: usize) -> Result<&str, Flaw> {
    str::from_utf8(part).map_err(|error| {
        let at = start + error.valid_up_to();
        Flaw::new(Reason::MalformedJson, format!("not UTF-8 at byte {at} of the event"))
    })
}
