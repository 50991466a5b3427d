//! Where a stream of JSON values can be cut so that each piece can be read alone.
//!
//! Between two values, or in a list of events between two of its items: then the piece before gets
//! the list's end, and the piece behind what the list began with. It reads brackets and texts and
//! nothing else; what is not JSON is not cut.

use memchr::memmem;

/// Members whose lists hold one event in each item.
const LISTS: [&[u8]; 2] = [b"items", b"records"];
/// What stands before a list is repeated with each piece of it: it must be short.
const OPENING_BYTES_MAX: usize = 64 << 10;

/// How far bytes have been read, and the last place where they can be cut.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// Bytes that have been read.
    read: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Where the last text at the top of an object began and ended.
    key: (usize, usize),
    /// Where the value at hand begins.
    start: usize,
    list: Option<List>,
    /// Behind the last whole value.
    between: Option<usize>,
    /// It is not JSON.
    lost: bool,
}

/// A list that is being read.
#[derive(Debug)]
struct List {
    /// Behind its bracket.
    open: usize,
    /// The depth of its items.
    depth: usize,
    /// Its last comma.
    comma: Option<usize>,
}

impl Cutter {
    /// Reads on; the bytes begin with those that it was given before.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let new = bytes.get(self.read..).unwrap_or_default();
        let first = self.read;
        for (at, byte) in (first..).zip(new) {
            if self.lost {
                return;
            }
            if self.in_text {
                self.text(at, *byte);
            } else {
                self.byte(at, *byte, bytes);
            }
        }
        self.read = bytes.len();
    }

    fn text(&mut self, at: usize, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_text = false;
            if self.depth == 1 {
                self.key.1 = at;
            }
        }
    }

    fn byte(&mut self, at: usize, byte: u8, bytes: &[u8]) {
        match byte {
            b'"' => {
                self.in_text = true;
                if self.depth == 1 {
                    self.key.0 = at + 1;
                }
            }
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.start = at;
                }
                self.depth += 1;
                if byte == b'[' && self.list.is_none() && self.is_list(at, bytes) {
                    self.list = Some(List { open: at + 1, depth: self.depth, comma: None });
                }
            }
            b'}' | b']' => {
                if self.list.as_ref().is_some_and(|list| list.depth == self.depth) {
                    self.list = None;
                }
                match self.depth {
                    0 => self.lost = true,
                    1 => {
                        self.depth = 0;
                        self.between = Some(at + 1);
                    }
                    _ => self.depth -= 1,
                }
            }
            b',' => {
                if let Some(list) = self.list.as_mut().filter(|list| list.depth == self.depth) {
                    list.comma = Some(at);
                }
            }
            _ => {}
        }
    }

    /// Whether the bracket at this place begins a list of events.
    fn is_list(&self, at: usize, bytes: &[u8]) -> bool {
        let opening = bytes.get(self.start..at).unwrap_or_default();
        let key = bytes.get(self.key.0..self.key.1).unwrap_or_default();
        let named = self.depth == 2 && opening.first() == Some(&b'{') && LISTS.contains(&key);
        (self.depth == 1 || named)
            && opening.len() <= OPENING_BYTES_MAX
            // An event may have any member.
            && memmem::find(opening, b"\"auditID\"").is_none()
    }

    /// Cuts at the last place where that is possible; what was before it is given.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        if self.lost {
            return None;
        }
        if let Some(at) = self.between.take() {
            let rest = bytes.split_off(at);
            self.read -= at;
            self.start = self.start.saturating_sub(at);
            self.key = (self.key.0.saturating_sub(at), self.key.1.saturating_sub(at));
            if let Some(list) = &mut self.list {
                list.open -= at;
                list.comma = list.comma.map(|comma| comma - at);
            }
            return Some(std::mem::replace(bytes, rest));
        }
        let list = self.list.as_mut()?;
        let comma = list.comma.take()?;
        let opening = bytes.get(self.start..list.open)?.to_vec();
        let rest = bytes.get(comma + 1..)?;
        let next = [&opening, rest].concat();
        let mut piece = std::mem::replace(bytes, next);
        piece.truncate(comma);
        piece.extend_from_slice(if list.depth == 1 { b"]" } else { b"]}" });
        // Texts at the top come before the list, or behind its end.
        self.key = (0, 0);
        self.start = 0;
        list.open = opening.len();
        self.read = bytes.len();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces when it may be cut after each byte.
    fn pieces(text: &str) -> Vec<String> {
        let mut cutter = Cutter::default();
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        for byte in text.bytes() {
            bytes.push(byte);
            cutter.feed(&bytes);
            pieces.extend(cutter.take(&mut bytes));
        }
        pieces.push(bytes);
        pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect()
    }

    #[test]
    fn values_and_items_of_lists_are_cut() {
        assert_eq!(
            pieces(r#"{"a":[1,2]} {"b":"]}\""}x"#),
            [r#"{"a":[1,2]}"#, r#" {"b":"]}\""}"#, "x"]
        );
        assert_eq!(
            pieces(r#"{"kind":"L","items":[{"a":[1,"],{"]},{"b":1}],"z":[1,2]}"#),
            [
                r#"{"kind":"L","items":[{"a":[1,"],{"]}]}"#,
                r#"{"kind":"L","items":[{"b":1}],"z":[1,2]}"#,
                ""
            ]
        );
        assert_eq!(pieces("[{},{}]"), ["[{}]", "[{}]", ""]);
    }

    #[test]
    fn what_is_one_event_or_no_json_is_not_cut() {
        for whole in [r#"{"auditID":"x","items":[1,2,3]}"#, r#"{"x":{"items":[1,2]}}"#] {
            assert_eq!(pieces(whole), [whole, ""]);
        }
        assert_eq!(pieces("]{},{}"), ["]{},{}"]);
    }
}
