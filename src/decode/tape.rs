//! One event's bytes to one row.
//!
//! Promise: a row says what the event says. Members without a column, and what is left of those
//! that have some, are in `other` as received, so that the event can be put together again; a
//! null, an empty text and an absent member are the same. Of a member that comes twice the first
//! has the column.
//!
//! Never: an event is not taken halfway. A known field of the wrong type refuses it whole.
//!
//! The parser works on a copy, because it writes into its input; raw texts are cut from the
//! original, by the extents that [`super::scan`] found, in step with the parser's tape.

mod fields;
mod leftovers;
mod nodes;

use simd_json::{Buffers, Tape, fill_tape_padded};

use self::fields::Fields;
use self::leftovers::Leftovers;
use super::decoder::Delivery;
use super::quarantine::{Flaw, Reason};
use super::scan::{self, Member, Scanner};
use crate::event::{EventDigest, Rows};

/// Deeper events are refused before the parser sees them.
const DEPTH_MAX: usize = 1_000;

/// The members whose values are someone else's JSON. A patch is logged as the client sent it, so
/// numbers and escapes that the parser does not take must not hide its event.
const BODIES: [&str; 2] = [r#""requestObject""#, r#""responseObject""#];

/// Reads events one after the other, with buffers it keeps.
pub(super) struct EventReader {
    copy: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    workspace: Workspace,
}

/// What turning a tape into a row needs beside the tape.
#[derive(Default)]
struct Workspace {
    scanner: Scanner,
    nested: Vec<Member>,
    leftovers: Leftovers,
}

impl Default for EventReader {
    fn default() -> Self {
        Self {
            copy: Vec::new(),
            buffers: Buffers::default(),
            tape: Tape(Vec::new()),
            workspace: Workspace::default(),
        }
    }
}

impl EventReader {
    /// Appends the row of the event `text`, an object with these `members` and this `depth`;
    /// appends nothing when it is refused.
    pub(super) fn read(
        &mut self,
        delivery: &Delivery<'_>,
        text: &str,
        depth: usize,
        members: &[Member],
        rows: &mut Rows,
    ) -> Result<(), Flaw> {
        if depth > DEPTH_MAX {
            let detail = format!("{depth} levels, at most {DEPTH_MAX} are read");
            return Err(Flaw::new(Reason::TooDeep, detail));
        }
        let Self { copy, buffers, tape: spare, workspace } = self;
        let event = Event { delivery, text, members };
        copy.clear();
        copy.extend_from_slice(text.as_bytes());
        let mut tape = std::mem::replace(spare, Tape(Vec::new())).reset();
        let Err(error) = parse(copy, buffers, &mut tape) else {
            let outcome = event.push_row(&tape, workspace, rows);
            *spare = tape.reset();
            return outcome;
        };
        let mut tape = tape.reset();
        let parsed = event.copy_without_bodies(copy) && parse(copy, buffers, &mut tape).is_ok();
        let outcome = if parsed {
            event.push_row(&tape, workspace, rows)
        } else {
            Err(Flaw::new(Reason::MalformedJson, error.to_string()))
        };
        *spare = tape.reset();
        outcome
    }
}

/// Parses `copy` in place. The parser reads beyond the end of its input, hence the padding.
fn parse<'c>(
    copy: &'c mut Vec<u8>,
    buffers: &mut Buffers,
    tape: &mut Tape<'c>,
) -> simd_json::Result<()> {
    let len = copy.len();
    copy.resize(len + simd_json::INPUT_PADDING, 0);
    fill_tape_padded(copy, len, buffers, tape)
}

/// One event with what is known of it before it is parsed.
#[derive(Clone, Copy)]
struct Event<'e> {
    delivery: &'e Delivery<'e>,
    text: &'e str,
    members: &'e [Member],
}

impl Event<'_> {
    fn push_row(
        self,
        tape: &Tape<'_>,
        workspace: &mut Workspace,
        rows: &mut Rows,
    ) -> Result<(), Flaw> {
        let Workspace { scanner, nested, leftovers } = workspace;
        leftovers.clear();
        let mut fields = Fields::new(scanner, nested, leftovers);
        let mut digest = EventDigest::new(self.delivery.cluster);
        fields.read(&tape.0, self.text, self.members, &mut digest)?;
        let mut row = fields.row;
        let event_id = digest.finish();
        row.cluster = self.delivery.cluster;
        row.source = self.delivery.source;
        row.event_id = event_id.as_str();
        row.ingest_time = self.delivery.received_at;
        row.event_time =
            fields.stage_time.or(row.request_time).unwrap_or(self.delivery.received_at);
        row.other = leftovers.finish();
        rows.push(&row);
        Ok(())
    }

    /// Fills `copy` with the event, `null` standing for its bodies; false when there is no body
    /// or one is not JSON, and then nothing is gained.
    fn copy_without_bodies(self, copy: &mut Vec<u8>) -> bool {
        copy.clear();
        let mut copied_to = 0;
        for member in self.members {
            let key = self.text.get(member.key.start..member.key.end).unwrap_or_default();
            if !BODIES.contains(&key) {
                continue;
            }
            let value = self.text.get(member.value.start..member.value.end).unwrap_or_default();
            if !scan::is_json(value) {
                return false;
            }
            let before = self.text.get(copied_to..member.value.start).unwrap_or_default();
            copy.extend_from_slice(before.as_bytes());
            copy.extend_from_slice(b"null");
            copied_to = member.value.end;
        }
        let rest = self.text.get(copied_to..).unwrap_or_default();
        copy.extend_from_slice(rest.as_bytes());
        copied_to > 0
    }
}
