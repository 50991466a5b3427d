//! What an object at the top of a body is.
//!
//! Promise: an object is told from its member names and kinds alone, so that a list of a million
//! events is known before its items are read.
//!
//! Each envelope that puts events deeper (a log record with the event as text, a list under
//! another name) gets a [`Shape`] here, and its reading in `envelope`.

/// What an object at the top of a body is, as far as its members tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One event, or no event at all: that is for the parser to say.
    Single,
    /// An `EventList` without items.
    EmptyList,
}

/// What the members of an object at the top said so far.
#[expect(clippy::struct_excessive_bools, reason = "each is one trait, seen or not")]
#[derive(Default)]
pub(super) struct Traits {
    has_audit_id: bool,
    has_other_kind: bool,
    is_event_list: bool,
    has_items: bool,
}

impl Traits {
    /// Takes note of a member: its key with quotes, and its value, as received.
    pub(super) fn note(&mut self, key: &[u8], value: &[u8]) {
        match key {
            br#""auditID""# => self.has_audit_id = true,
            br#""kind""# if value == br#""EventList""# => self.is_event_list = true,
            br#""kind""# => self.has_other_kind = true,
            br#""items""# if value != b"null" => self.has_items = true,
            _ => {}
        }
    }

    /// Whether a list named `items` that comes now holds events. Senders that sort their keys
    /// write it before `kind`.
    pub(super) fn may_be_list(&self) -> bool {
        self.is_event_list || !(self.has_audit_id || self.has_other_kind)
    }

    /// The shape of the whole object.
    pub(super) fn shape(&self) -> Shape {
        if self.is_event_list && !self.has_items { Shape::EmptyList } else { Shape::Single }
    }
}
