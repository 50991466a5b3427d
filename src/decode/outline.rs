//! An object of a body, written down as far as an event has columns.
//!
//! Promise: one pass over the object gives its extent, its shape and the nodes of its members.
//! Bodies of requests and responses are one node each, whatever is in them, and their depth and
//! their flaws are kept apart from the event's own: a patch is logged as its client sent it.

use super::format::Format;
use super::scan::{self, Damage, Extent, Key, Scan, Scanner};
use super::shape::{Role, Shape, Traits};
use super::tape::{Kind, Node};

/// Brackets within a member: `user`, its `extra`, the list under one key.
const LEVELS: usize = 3;

/// What is known of one object; its buffers are kept from one to the next.
#[derive(Default)]
pub(super) struct Outline {
    /// Keys and values in turn, those of members with columns down to their texts. Places are
    /// counted from the object's start.
    pub(super) nodes: Vec<Node>,
    /// How deep it nests, itself included, bodies left out.
    pub(super) depth: usize,
    /// Where, outside of bodies, it is not JSON.
    pub(super) flaw_at: Option<usize>,
    /// Where a body is not JSON.
    pub(super) body_flaw_at: Option<usize>,
    traits: Traits,
}

impl Outline {
    /// Starts another object.
    pub(super) fn clear(&mut self, scanner: &mut Scanner) {
        // Damage can leave a flaw behind that is no longer of interest.
        scanner.take_flaw();
        self.nodes.clear();
        self.depth = 1;
        self.flaw_at = None;
        self.body_flaw_at = None;
        self.traits = Traits::default();
    }

    /// Reads the whole object that starts at the first byte; returns its end.
    pub(super) fn object(&mut self, scanner: &mut Scanner, bytes: &[u8]) -> Scan<usize> {
        self.clear(scanner);
        let mut at = scan::skip_space(bytes, 1);
        if bytes.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        loop {
            let key = scanner.key(bytes, at)?;
            at = scan::skip_space(bytes, self.member(scanner, bytes, key)?);
            match bytes.get(at) {
                Some(b',') => at = scan::skip_space(bytes, at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return Err(Damage { at }),
            }
        }
    }

    /// Reads the member with this key; returns its end.
    pub(super) fn member(&mut self, scanner: &mut Scanner, bytes: &[u8], key: Key) -> Scan<usize> {
        let role = Role::of(bytes.get(key.span.start..key.span.end).unwrap_or_default());
        let levels = if role == Role::Known || key.is_escaped { LEVELS } else { 0 };
        self.nodes.push(key.node());
        if let Some(at) = scanner.take_flaw() {
            self.flaw_at.get_or_insert(at);
        }
        let start = key.value_start;
        let Extent { end, depth } = scanner.nodes(bytes, start, levels, &mut self.nodes)?;
        let flaw = scanner.take_flaw();
        if role == Role::Body {
            if let Some(node) = self.nodes.last_mut()
                && node.kind == Kind::Escaped
            {
                // What a body's text means, if it means anything, is nobody's business here.
                node.kind = Kind::Unread;
            }
            self.body_flaw_at = self.body_flaw_at.or(flaw);
        } else {
            self.flaw_at = self.flaw_at.or(flaw);
            self.depth = self.depth.max(depth + 1);
        }
        self.traits.note(role, bytes.get(start..end).unwrap_or_default());
        Ok(end)
    }

    /// Whether a list named `items` that comes now holds events.
    pub(super) fn may_be_list(&self) -> bool {
        self.traits.may_be_list()
    }

    /// What the object is.
    pub(super) fn shape(&self, format: Format) -> Shape {
        self.traits.shape(format)
    }
}
