//! What a scanner wrote down of a value, and walking it.
//!
//! Promise: a value is the slice of its nodes, so a walk cannot leave it. Nodes that are not as
//! the scanner writes them end a walk early; nothing here panics.
//!
//! ```text
//! {"user":{"uid":"7"},"verb":"get"}     key  object(2)  key  text  key  text
//!                                       user            uid  7     verb get
//! ```

use super::super::quarantine::Span;
use super::escape;

/// A value or a key as received: what it is, and where it is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Node {
    pub(in super::super) kind: Kind,
    /// For texts, the quotes are within.
    pub(in super::super) span: Span,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// So many nodes follow that belong to it: keys and values in turn.
    Object {
        below: usize,
    },
    /// So many nodes follow that belong to it.
    List {
        below: usize,
    },
    /// A text without escapes.
    Text,
    /// A text that means something else than it says.
    Escaped,
    /// As [`Kind::Escaped`], once its meaning is in a buffer, from one byte up to another.
    Unescaped {
        start: usize,
        end: usize,
    },
    Number,
    Truth,
    Null,
    /// What is not written down: an object or a list that lies too deep, or a body.
    Unread,
}

impl Kind {
    pub(in super::super) fn text(is_escaped: bool) -> Self {
        if is_escaped { Self::Escaped } else { Self::Text }
    }

    /// The kind of a sound value of one node that starts with this byte.
    pub(in super::super) fn of_first_byte(first: Option<&u8>) -> Self {
        match first {
            Some(b'{' | b'[') => Self::Unread,
            Some(b't' | b'f') => Self::Truth,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// How many nodes follow that belong to the value.
    #[inline]
    pub(in super::super) fn below(self) -> usize {
        match self {
            Self::Object { below } | Self::List { below } => below,
            _ => 0,
        }
    }
}

/// Puts the meaning of the escaped texts of `text` into `buffer`; Err is the place of a text that
/// has none, half of a surrogate pair.
pub(in super::super) fn unescape(
    nodes: &mut [Node],
    text: &str,
    buffer: &mut String,
) -> Result<(), usize> {
    for node in nodes.iter_mut().filter(|node| node.kind == Kind::Escaped) {
        let start = buffer.len();
        let raw = text.get(node.span.start + 1..node.span.end - 1).ok_or(node.span.start)?;
        escape::unescape(raw, buffer).ok_or(node.span.start)?;
        node.kind = Kind::Unescaped { start, end: buffer.len() };
    }
    Ok(())
}

/// The texts that nodes point into.
#[derive(Clone, Copy)]
pub(in super::super) struct Source<'v> {
    /// What the scanner read.
    pub(in super::super) text: &'v str,
    /// What [`unescape`] filled.
    pub(in super::super) unescaped: &'v str,
}

impl<'v> Source<'v> {
    /// Walks the members of an object: keys and values in turn.
    pub(in super::super) fn members<'t>(self, nodes: &'t [Node]) -> Members<'t, 'v> {
        Members { rest: nodes, source: self }
    }

    /// Takes one value off the front.
    #[inline]
    fn split<'t>(self, nodes: &'t [Node]) -> Option<(Value<'t, 'v>, &'t [Node])> {
        let (node, rest) = nodes.split_first()?;
        let (below, rest) = rest.split_at_checked(node.kind.below())?;
        Some((Value { node: *node, below, source: self }, rest))
    }
}

/// A value of an event.
#[derive(Clone, Copy)]
pub(in super::super) struct Value<'t, 'v> {
    node: Node,
    below: &'t [Node],
    source: Source<'v>,
}

impl<'t, 'v> Value<'t, 'v> {
    /// The value of a whole text.
    pub(in super::super) fn new(nodes: &'t [Node], source: Source<'v>) -> Option<Self> {
        source.split(nodes).map(|(value, _)| value)
    }

    /// As received.
    #[inline]
    pub(in super::super) fn raw(&self) -> &'v str {
        self.source.text.get(self.node.span.start..self.node.span.end).unwrap_or_default()
    }

    pub(in super::super) fn span(&self) -> Span {
        self.node.span
    }

    /// The members of an object; None when it is something else.
    pub(in super::super) fn members(&self) -> Option<Members<'t, 'v>> {
        matches!(self.node.kind, Kind::Object { .. }).then(|| self.source.members(self.below))
    }

    /// The elements of a list; None when it is something else.
    pub(in super::super) fn elements(&self) -> Option<Elements<'t, 'v>> {
        let elements = Elements { rest: self.below, source: self.source };
        matches!(self.node.kind, Kind::List { .. }).then_some(elements)
    }

    /// The first member of this name; None when there is none, or the value is no object.
    pub(in super::super) fn member(&self, name: &str) -> Option<Self> {
        self.members()?.find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    /// The text of a string; None when it is something else.
    #[inline]
    pub(in super::super) fn text(&self) -> Option<&'v str> {
        let Span { start, end } = self.node.span;
        match self.node.kind {
            Kind::Text => self.source.text.get(start + 1..end - 1),
            Kind::Unescaped { start, end } => self.source.unescaped.get(start..end),
            _ => None,
        }
    }

    /// An integer that fits; None when the value is something else.
    pub(in super::super) fn integer(&self) -> Option<i32> {
        match self.node.kind {
            Kind::Number => self.raw().parse().ok(),
            _ => None,
        }
    }

    /// Whether the value is null.
    pub(in super::super) fn is_null(&self) -> bool {
        self.node.kind == Kind::Null
    }
}

/// The key of a member.
#[derive(Clone, Copy)]
pub(in super::super) struct Name<'v> {
    /// As received, with the quotes.
    pub(in super::super) raw: &'v str,
    pub(in super::super) text: &'v str,
    pub(in super::super) span: Span,
}

/// The members of an object, in order.
#[derive(Clone)]
pub(in super::super) struct Members<'t, 'v> {
    rest: &'t [Node],
    source: Source<'v>,
}

impl<'t, 'v> Iterator for Members<'t, 'v> {
    type Item = (Name<'v>, Value<'t, 'v>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.rest.split_first()?;
        let (value, rest) = self.source.split(rest)?;
        self.rest = rest;
        let raw = self.source.text.get(key.span.start..key.span.end)?;
        let text = match key.kind {
            Kind::Unescaped { start, end } => self.source.unescaped.get(start..end)?,
            _ => raw.get(1..raw.len().checked_sub(1)?)?,
        };
        Some((Name { raw, text, span: key.span }, value))
    }
}

/// The elements of a list, in order.
pub(in super::super) struct Elements<'t, 'v> {
    rest: &'t [Node],
    source: Source<'v>,
}

impl<'t, 'v> Iterator for Elements<'t, 'v> {
    type Item = Value<'t, 'v>;

    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = self.source.split(self.rest)?;
        self.rest = rest;
        Some(value)
    }
}
