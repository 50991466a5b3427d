//! Where the events are in a body.
//!
//! Promise: pieces come in the order of the body and do not overlap. An event next to damage is
//! found again at the next place where one can start (see `resume`).
//!
//! Never: an event's own fields are not read here.
//!
//! Bodies known now: an `EventList`, a list of events, and a stream of events and lists (log
//! lines; one value on several lines, or several on one). What clouds wrap around events is told
//! apart in `shape` and handed on whole, to be unwrapped in `cloud`.

use memchr::memmem;

use super::format::Format;
use super::outline::Outline;
use super::quarantine::{Flaw, Reason, Span};
use super::resume::Places;
use super::scan::{self, Damage, Extent, Scanner};
use super::shape::{Shape, Wrapping};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The key of an `EventList`'s events.
const ITEMS: &[u8] = br#""items""#;

/// The longest name of a node: a DNS subdomain.
const NODE_NAME_BYTES_MAX: usize = 253;

/// Gzip's first three bytes (RFC 1952: magic and method) in base64.
const PACKED_BEGINNING: &[u8] = b"H4sI";

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An object that can be an event; its outline is where [`Pieces::next`] put it.
    Object {
        /// Its extent.
        span: Span,
    },
    /// What a cloud wraps around events.
    Cloud {
        /// Its extent.
        span: Span,
        /// What it is.
        wrapping: Wrapping,
    },
    /// What cannot be an event.
    Bad {
        /// Its extent; empty only at the end of an unclosed list.
        span: Span,
        /// What is wrong.
        flaw: Flaw,
    },
}

/// Where in the body the reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between the values of the stream.
    Between,
    /// Among the items of a list.
    Items(List),
    /// After the items, among the other members of an `EventList`.
    AfterItems,
}

/// A list that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct List {
    in_object: bool,
    /// The end of the last item: what follows is not yet accounted for.
    read_to: usize,
    /// Whether damage to the list was reported, so that its missing end is no news.
    is_damaged: bool,
}

/// What an object at the top turned out to be.
enum Opened {
    /// A whole object, which ends here.
    Object(usize),
    /// An `EventList`; its first item or closing bracket comes from here on.
    List(usize),
}

/// The pieces of one body, one after the other.
pub(super) struct Pieces<'b> {
    body: &'b [u8],
    format: Format,
    at: usize,
    place: Place,
    places: Places<'b>,
}

impl<'b> Pieces<'b> {
    pub(super) fn new(body: &'b [u8], format: Format) -> Self {
        let at = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self { body, format, at, place: Place::Between, places: Places::new(body) }
    }

    /// The next piece; for an object, `outline` is its outline.
    pub(super) fn next(&mut self, scanner: &mut Scanner, outline: &mut Outline) -> Option<Piece> {
        loop {
            self.at = scan::skip_space(self.body, self.at);
            let step = match self.place {
                Place::Between if self.at >= self.body.len() => return None,
                Place::Between => self.top_value(scanner, outline),
                Place::Items(list) => self.item(list, scanner, outline),
                Place::AfterItems => self.after_items(scanner),
            };
            if let Some(piece) = step {
                return Some(piece);
            }
        }
    }

    fn top_value(&mut self, scanner: &mut Scanner, outline: &mut Outline) -> Option<Piece> {
        let start = self.at;
        match self.body.get(start) {
            Some(b'{') => match self.open(scanner, outline) {
                Ok(Opened::Object(end)) => {
                    self.at = end;
                    self.object(Span { start, end }, outline)
                }
                Ok(Opened::List(items)) => {
                    self.at = items;
                    self.enter_items(true, false);
                    None
                }
                Err(damage) => Some(self.damaged_top(start, damage)),
            },
            Some(b'[') => {
                self.at = start + 1;
                self.enter_items(false, false);
                None
            }
            _ => self.no_bracket(scanner),
        }
    }

    /// What a whole object is handed on as; nothing when it is an `EventList` without items.
    fn object(&self, span: Span, outline: &Outline) -> Option<Piece> {
        match outline.shape(self.format) {
            Shape::Single => Some(Piece::Object { span }),
            Shape::EmptyList => None,
            Shape::Cloud(wrapping) => Some(Piece::Cloud { span, wrapping }),
        }
    }

    /// A value at the top that is neither object nor list.
    fn no_bracket(&mut self, scanner: &mut Scanner) -> Option<Piece> {
        let start = self.at;
        if let Some(event) = self.after_node_name() {
            self.at = event;
            return None;
        }
        if let Some(end) = self.packed_end() {
            self.at = end;
            return Some(Piece::Cloud { span: Span { start, end }, wrapping: Wrapping::Packed });
        }
        Some(match scanner.value(self.body, start) {
            Ok(extent) if self.is_value_over(extent.end) => self.no_object(start, extent.end),
            Ok(extent) => self.damaged_top(start, Damage { at: extent.end }),
            Err(damage) => self.damaged_top(start, damage),
        })
    }

    /// Where the event starts on a line that begins with a node's name, as `oc adm node-logs`
    /// writes them: `master-0.example {"kind":"Event",...}`.
    fn after_node_name(&self) -> Option<usize> {
        let is_line_start = self.at == 0 || self.body.get(self.at - 1) == Some(&b'\n');
        if !is_line_start || !self.format.has_node_names() {
            return None;
        }
        let rest = self.body.get(self.at..)?;
        let is_of_name = |b: &&u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let len = rest.iter().take(NODE_NAME_BYTES_MAX).take_while(is_of_name).count();
        let name = rest.get(..len)?;
        // A number is no name, nor are the words of JSON.
        let is_name = name.iter().any(u8::is_ascii_lowercase)
            && !matches!(name, b"null" | b"true" | b"false");
        let blanks = rest.get(len..)?.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let is_followed = blanks > 0 && rest.get(len + blanks..)?.starts_with(b"{\"");
        (is_name && is_followed).then_some(self.at + len + blanks)
    }

    /// Where base64 of gzip that starts here ends.
    fn packed_end(&self) -> Option<usize> {
        let rest = self.body.get(self.at..)?;
        if !self.format.admits(Wrapping::Packed) || !rest.starts_with(PACKED_BEGINNING) {
            return None;
        }
        let is_of_base64 = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let end = self.at + rest.iter().take_while(is_of_base64).count();
        self.is_value_over(end).then_some(end)
    }

    /// Reads the object at the current place up to its end, or up to the items of an `EventList`.
    /// Extents are counted from the object's start.
    fn open(&self, scanner: &mut Scanner, outline: &mut Outline) -> Result<Opened, Damage> {
        let bytes = self.body.get(self.at..).unwrap_or_default();
        let from_body = |damage: Damage| Damage { at: self.at + damage.at };
        outline.clear(scanner);
        let mut at = scan::skip_space(bytes, 1);
        if bytes.get(at) == Some(&b'}') {
            return Ok(Opened::Object(self.at + at + 1));
        }
        loop {
            let key = scanner.key(bytes, at).map_err(from_body)?;
            let name = bytes.get(key.span.start..key.span.end).unwrap_or_default();
            let start = key.value_start;
            if name == ITEMS && bytes.get(start) == Some(&b'[') && outline.may_be_list() {
                return Ok(Opened::List(self.at + start + 1));
            }
            let end = outline.member(scanner, bytes, key).map_err(from_body)?;
            at = scan::skip_space(bytes, end);
            match bytes.get(at) {
                Some(b',') => at = scan::skip_space(bytes, at + 1),
                Some(b'}') => return Ok(Opened::Object(self.at + at + 1)),
                _ => return Err(from_body(Damage { at })),
            }
        }
    }

    fn item(&mut self, list: List, scanner: &mut Scanner, outline: &mut Outline) -> Option<Piece> {
        let start = self.at;
        match self.body.get(start) {
            None => {
                self.place = Place::Between;
                let span = Span { start: list.read_to, end: self.body.len() };
                let is_news = !list.is_damaged || !self.is_blank(span);
                is_news.then(|| bad(span, Reason::MalformedJson, "the list is not closed".into()))
            }
            Some(b',') => {
                self.at += 1;
                None
            }
            Some(b']') => {
                self.at += 1;
                self.place = if list.in_object { Place::AfterItems } else { Place::Between };
                None
            }
            Some(b'{') => {
                let bytes = self.body.get(start..).unwrap_or_default();
                match outline.object(scanner, bytes) {
                    Ok(end) => {
                        self.end_item(list, start + end);
                        let span = Span { start, end: self.at };
                        self.object(span, outline).or(Some(Piece::Object { span }))
                    }
                    Err(Damage { at }) => {
                        Some(self.damaged_list(list.in_object, start, Damage { at: start + at }))
                    }
                }
            }
            Some(_) => Some(match scanner.value(self.body, start) {
                Ok(Extent { end, .. }) if self.is_value_over(end) => {
                    self.end_item(list, end);
                    self.no_object(start, end)
                }
                Ok(Extent { end, .. }) => {
                    self.damaged_list(list.in_object, start, Damage { at: end })
                }
                Err(damage) => self.damaged_list(list.in_object, start, damage),
            }),
        }
    }

    fn after_items(&mut self, scanner: &mut Scanner) -> Option<Piece> {
        let start = self.at;
        match self.body.get(start) {
            Some(b'}') => {
                self.at += 1;
                self.place = Place::Between;
                return None;
            }
            Some(b',') => {
                self.at += 1;
                return None;
            }
            // No member starts so: the list was closed too early.
            Some(b'{') => {
                self.enter_items(true, true);
                return None;
            }
            _ => {}
        }
        let (name, value) = match scanner.key(self.body, start) {
            Ok(key) => (self.body.get(key.span.start..key.span.end), key.value_start),
            Err(damage) => return Some(self.damaged_list(true, start, damage)),
        };
        if name == Some(ITEMS) && self.body.get(value) == Some(&b'[') {
            self.at = value + 1;
            self.enter_items(true, false);
            return None;
        }
        match scanner.value(self.body, value) {
            Ok(extent) => {
                self.at = extent.end;
                None
            }
            Err(damage) => Some(self.damaged_list(true, start, damage)),
        }
    }

    fn enter_items(&mut self, in_object: bool, is_damaged: bool) {
        self.place = Place::Items(List { in_object, read_to: self.at, is_damaged });
    }

    fn end_item(&mut self, list: List, end: usize) {
        self.at = end;
        self.place = Place::Items(List { read_to: end, ..list });
    }

    fn no_object(&mut self, start: usize, end: usize) -> Piece {
        self.at = end;
        bad(Span { start, end }, Reason::NotAnEvent, "not a JSON object".into())
    }

    /// Whether a value can end at `at`: `12abc` is no number followed by something.
    fn is_value_over(&self, at: usize) -> bool {
        let next = self.body.get(at);
        next.is_none_or(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'{' | b'['))
    }

    fn is_blank(&self, span: Span) -> bool {
        scan::skip_space(self.body, span.start) >= span.end
    }

    /// Damage in a value of the stream: on to the next line, or, where an `EventList` lost its
    /// head, to its next item.
    fn damaged_top(&mut self, start: usize, damage: Damage) -> Piece {
        let line = self.places.line(start + 1);
        let head = self.body.get(start..line.min(start + 64)).unwrap_or_default();
        if memmem::find(head, br#""EventList""#).is_some() {
            return self.damaged_list(true, start, damage);
        }
        self.resume(start, damage, line, Place::Between)
    }

    /// Damage in a list or in the rest of an `EventList`: on to the next event's beginning in the
    /// line, else to the next line.
    fn damaged_list(&mut self, in_object: bool, start: usize, damage: Damage) -> Piece {
        let from = start + 1;
        let line = self.places.line(from);
        match self.places.event(from, line) {
            Some(item) => {
                let list = List { in_object, read_to: item, is_damaged: true };
                self.resume(start, damage, item, Place::Items(list))
            }
            None => self.resume(start, damage, line, Place::Between),
        }
    }

    fn resume(&mut self, start: usize, damage: Damage, next: usize, place: Place) -> Piece {
        let wasted_bytes = damage.at.saturating_sub(start);
        let (end, place) = if self.places.may_go_on(wasted_bytes) {
            (next, place)
        } else {
            (self.body.len(), Place::Between)
        };
        self.at = end;
        self.place = place;
        let what = if damage.at >= self.body.len() { "the body ends in a value" } else { "damage" };
        let detail = format!("{what} at byte {} of the body", damage.at);
        bad(Span { start, end }, Reason::MalformedJson, detail)
    }
}

fn bad(span: Span, reason: Reason, detail: String) -> Piece {
    Piece::Bad { span, flaw: Flaw::new(reason, detail) }
}
