//! Walking the parser's tape.
//!
//! Promise: a value is the slice of its nodes, so a walk cannot leave it. A tape that is not as
//! the parser writes it ends a walk early; it never panics.

use simd_json::{Node, StaticNode};

/// The nodes of one value, its own first.
pub(super) type Value<'t, 'v> = &'t [Node<'v>];

/// Takes one value off the front.
fn split<'t, 'v>(nodes: Value<'t, 'v>) -> Option<(Value<'t, 'v>, Value<'t, 'v>)> {
    let len = match nodes.first()? {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    };
    nodes.split_at_checked(len)
}

/// The members of an object; None when the value is something else.
pub(super) fn members<'t, 'v>(value: Value<'t, 'v>) -> Option<Members<'t, 'v>> {
    match value.split_first()? {
        (Node::Object { .. }, rest) => Some(Members { rest }),
        _ => None,
    }
}

/// The elements of a list; None when the value is something else.
pub(super) fn elements<'t, 'v>(value: Value<'t, 'v>) -> Option<Elements<'t, 'v>> {
    match value.split_first()? {
        (Node::Array { .. }, rest) => Some(Elements { rest }),
        _ => None,
    }
}

/// The text of a string; None when the value is something else.
pub(super) fn text<'v>(value: Value<'_, 'v>) -> Option<&'v str> {
    match value.first()? {
        Node::String(text) => Some(text),
        _ => None,
    }
}

/// An integer that fits; None when the value is something else.
pub(super) fn integer(value: Value<'_, '_>) -> Option<i32> {
    match value.first()? {
        Node::Static(StaticNode::I64(number)) => i32::try_from(*number).ok(),
        Node::Static(StaticNode::U64(number)) => i32::try_from(*number).ok(),
        _ => None,
    }
}

/// Whether the value is null.
pub(super) fn is_null(value: Value<'_, '_>) -> bool {
    matches!(value.first(), Some(Node::Static(StaticNode::Null)))
}

/// The members of an object, in order.
pub(super) struct Members<'t, 'v> {
    rest: Value<'t, 'v>,
}

impl<'t, 'v> Iterator for Members<'t, 'v> {
    type Item = (&'v str, Value<'t, 'v>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.rest.split_first()?;
        let Node::String(key) = key else { return None };
        let (value, rest) = split(rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// The elements of a list, in order.
pub(super) struct Elements<'t, 'v> {
    rest: Value<'t, 'v>,
}

impl<'t, 'v> Iterator for Elements<'t, 'v> {
    type Item = Value<'t, 'v>;

    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = split(self.rest)?;
        self.rest = rest;
        Some(value)
    }
}
