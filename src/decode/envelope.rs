//! Where the events are in a body.
//!
//! Promise: pieces come in the order of the body and do not overlap. An event next to damage is
//! found again at the next place where one can start (see `resume`).
//!
//! Never: an event's own fields are not read here.
//!
//! Bodies known now: an `EventList`, a list of events, and a stream of events and lists (log
//! lines; one value on several lines, or several on one). What other senders wrap around events
//! is told apart in `shape`.

use memchr::memmem;

use super::quarantine::{Flaw, Reason, Span};
use super::resume::Places;
use super::scan::{self, Damage, Extent, Member, Scanner};
use super::shape::{Shape, Traits};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An object that can be an event; its members are where [`Pieces::next`] put them, with
    /// places counted from the start of the span.
    Object {
        /// Its extent.
        span: Span,
        /// How deep it nests, itself included.
        depth: usize,
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
    Object(Extent, Shape),
    /// An `EventList`; its first item or closing bracket comes from here on.
    List(usize),
}

/// The pieces of one body, one after the other.
pub(super) struct Pieces<'b> {
    body: &'b [u8],
    at: usize,
    place: Place,
    places: Places<'b>,
}

impl<'b> Pieces<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        let at = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self { body, at, place: Place::Between, places: Places::new(body) }
    }

    /// The next piece; for an object, `members` are its members.
    pub(super) fn next(
        &mut self,
        scanner: &mut Scanner,
        members: &mut Vec<Member>,
    ) -> Option<Piece> {
        loop {
            self.at = scan::skip_space(self.body, self.at);
            let step = match self.place {
                Place::Between if self.at >= self.body.len() => return None,
                Place::Between => self.top_value(scanner, members),
                Place::Items(list) => self.item(list, scanner, members),
                Place::AfterItems => self.after_items(scanner),
            };
            if let Some(piece) = step {
                return Some(piece);
            }
        }
    }

    fn top_value(&mut self, scanner: &mut Scanner, members: &mut Vec<Member>) -> Option<Piece> {
        let start = self.at;
        match self.body.get(start) {
            Some(b'{') => match self.open(scanner, members) {
                Ok(Opened::Object(extent, shape)) => {
                    self.at = start + extent.end;
                    let span = Span { start, end: self.at };
                    (shape == Shape::Single).then_some(Piece::Object { span, depth: extent.depth })
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
            _ => Some(match scanner.value(self.body, start) {
                Ok(extent) if self.is_value_over(extent.end) => self.no_object(start, extent.end),
                Ok(extent) => self.damaged_top(start, Damage { at: extent.end }),
                Err(damage) => self.damaged_top(start, damage),
            }),
        }
    }

    /// Reads the object at the current place up to its end, or up to the items of an `EventList`.
    /// Extents are counted from the object's start.
    fn open(&self, scanner: &mut Scanner, members: &mut Vec<Member>) -> Result<Opened, Damage> {
        let bytes = self.body.get(self.at..).unwrap_or_default();
        let from_body = |damage: Damage| Damage { at: self.at + damage.at };
        members.clear();
        let mut traits = Traits::default();
        let mut deepest = 0;
        let mut at = scan::skip_space(bytes, 1);
        if bytes.get(at) == Some(&b'}') {
            return Ok(Opened::Object(Extent { end: at + 1, depth: 1 }, Shape::Single));
        }
        loop {
            let (key, start) = scan::key(bytes, at).map_err(from_body)?;
            let key_text = bytes.get(key.start..key.end).unwrap_or_default();
            if key_text == br#""items""# && bytes.get(start) == Some(&b'[') && traits.may_be_list()
            {
                return Ok(Opened::List(self.at + start + 1));
            }
            let Extent { end, depth } = scanner.value(bytes, start).map_err(from_body)?;
            traits.note(key_text, bytes.get(start..end).unwrap_or_default());
            members.push(Member { key, value: Span { start, end } });
            deepest = deepest.max(depth);
            at = scan::skip_space(bytes, end);
            match bytes.get(at) {
                Some(b',') => at = scan::skip_space(bytes, at + 1),
                Some(b'}') => {
                    let extent = Extent { end: at + 1, depth: deepest + 1 };
                    return Ok(Opened::Object(extent, traits.shape()));
                }
                _ => return Err(from_body(Damage { at })),
            }
        }
    }

    fn item(
        &mut self,
        list: List,
        scanner: &mut Scanner,
        members: &mut Vec<Member>,
    ) -> Option<Piece> {
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
                Some(match scanner.members(bytes, members) {
                    Ok(Extent { end, depth }) => {
                        self.end_item(list, start + end);
                        Piece::Object { span: Span { start, end: self.at }, depth }
                    }
                    Err(Damage { at }) => {
                        self.damaged_list(list.in_object, start, Damage { at: start + at })
                    }
                })
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
        let (key, value) = match scan::key(self.body, start) {
            Ok(found) => found,
            Err(damage) => return Some(self.damaged_list(true, start, damage)),
        };
        let key = self.body.get(key.start..key.end).unwrap_or_default();
        if key == br#""items""# && self.body.get(value) == Some(&b'[') {
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
