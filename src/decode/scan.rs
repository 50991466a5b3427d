//! Where JSON values end, and whether they are JSON, without reading them.
//!
//! Promise: a value whose brackets, commas, colons and quotes are in order has an extent, found
//! in one pass with a stack of one bit per level on the heap. What is wrong inside its strings
//! and numbers (RFC 8259) does not change the extent: it is a flaw, and the first one is kept.
//!
//! Never: numbers of any size, any depth and `\u` escapes of half a surrogate pair are within
//! the grammar. Bytes above ASCII are not judged. No recursion but the few levels that a caller
//! asks to have written down.

use super::quarantine::Span;
use super::tape::{Kind, Node};

/// Where a value ends, and how deep its brackets nest: 0 for a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) end: usize,
    pub(super) depth: usize,
}

/// The structure is broken at this byte; at the length of the input when that ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) at: usize,
}

pub(super) type Scan<T> = Result<T, Damage>;

/// A member's key, and where its value starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The key with its quotes.
    pub(super) span: Span,
    pub(super) is_escaped: bool,
    pub(super) value_start: usize,
}

/// A string, quotes included, that ends before `end`.
#[derive(Clone, Copy)]
struct Quoted {
    end: usize,
    is_escaped: bool,
}

/// The position of the first byte from `at` on that is not white space.
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Finds extents, with a stack that is kept.
#[derive(Default)]
pub(super) struct Scanner {
    /// The kinds of the open brackets, one bit each: 1 is an object.
    kinds: Vec<u64>,
    flaw_at: Option<usize>,
}

impl Scanner {
    /// Where the first string or number since the last call is not JSON, if one is not.
    pub(super) fn take_flaw(&mut self) -> Option<usize> {
        self.flaw_at.take()
    }

    /// The extent of the value that starts exactly at `start`.
    pub(super) fn value(&mut self, bytes: &[u8], start: usize) -> Scan<Extent> {
        let mut at = start;
        let mut depth = 0;
        let mut deepest = 0;
        loop {
            // A value starts here.
            match bytes.get(at) {
                Some(&open @ (b'{' | b'[')) => {
                    let is_object = open == b'{';
                    self.open(depth, is_object);
                    depth += 1;
                    deepest = deepest.max(depth);
                    at = skip_space(bytes, at + 1);
                    match (bytes.get(at), is_object) {
                        (Some(b'}'), true) | (Some(b']'), false) => {
                            depth -= 1;
                            at += 1;
                        }
                        (_, true) => {
                            at = self.key(bytes, at)?.value_start;
                            continue;
                        }
                        (_, false) => continue,
                    }
                }
                Some(b'"') => at = self.string(bytes, at)?.end,
                _ => at = self.literal(bytes, at)?,
            }
            // A value is complete; close what it completes, up to the next value.
            loop {
                let Some(above) = depth.checked_sub(1) else {
                    return Ok(Extent { end: at, depth: deepest });
                };
                at = skip_space(bytes, at);
                match (bytes.get(at), self.is_object(above)) {
                    (Some(b','), true) => {
                        at = self.key(bytes, skip_space(bytes, at + 1))?.value_start;
                        break;
                    }
                    (Some(b','), false) => {
                        at = skip_space(bytes, at + 1);
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        depth = above;
                        at += 1;
                    }
                    _ => return Err(Damage { at }),
                }
            }
        }
    }

    /// As [`Self::value`], and writes the value down: its node, and below it those of its
    /// elements and members, down to so many `levels` of brackets. Deeper values are one node.
    pub(super) fn nodes(
        &mut self,
        bytes: &[u8],
        start: usize,
        levels: usize,
        nodes: &mut Vec<Node>,
    ) -> Scan<Extent> {
        let (kind, extent) = match (bytes.get(start), levels.checked_sub(1)) {
            (Some(b'"'), _) => {
                let Quoted { end, is_escaped } = self.string(bytes, start)?;
                (Kind::text(is_escaped), Extent { end, depth: 0 })
            }
            (Some(b'{' | b'['), Some(below)) => return self.opened(bytes, start, below, nodes),
            (first, _) => (Kind::of_first_byte(first), self.value(bytes, start)?),
        };
        nodes.push(Node { kind, span: Span { start, end: extent.end } });
        Ok(extent)
    }

    /// [`Self::nodes`] of an object or a list.
    fn opened(
        &mut self,
        bytes: &[u8],
        start: usize,
        levels_below: usize,
        nodes: &mut Vec<Node>,
    ) -> Scan<Extent> {
        let is_object = bytes.get(start) == Some(&b'{');
        let close = if is_object { b'}' } else { b']' };
        let own = nodes.len();
        nodes.push(Node { kind: Kind::Null, span: Span { start, end: start } });
        let mut deepest = 0;
        let mut at = skip_space(bytes, start + 1);
        if bytes.get(at) != Some(&close) {
            loop {
                if is_object {
                    let key = self.key(bytes, at)?;
                    nodes.push(key.node());
                    at = key.value_start;
                }
                let extent = self.nodes(bytes, at, levels_below, nodes)?;
                deepest = deepest.max(extent.depth);
                at = skip_space(bytes, extent.end);
                match bytes.get(at) {
                    Some(b',') => at = skip_space(bytes, at + 1),
                    Some(found) if *found == close => break,
                    _ => return Err(Damage { at }),
                }
            }
        }
        let below = nodes.len() - own - 1;
        let kind = if is_object { Kind::Object { below } } else { Kind::List { below } };
        if let Some(node) = nodes.get_mut(own) {
            *node = Node { kind, span: Span { start, end: at + 1 } };
        }
        Ok(Extent { end: at + 1, depth: deepest + 1 })
    }

    /// The key that starts exactly at `start`, up to where its value starts.
    pub(super) fn key(&mut self, bytes: &[u8], start: usize) -> Scan<Key> {
        if bytes.get(start) != Some(&b'"') {
            return Err(Damage { at: start });
        }
        let Quoted { end, is_escaped } = self.string(bytes, start)?;
        let colon = skip_space(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            return Err(Damage { at: colon });
        }
        let value_start = skip_space(bytes, colon + 1);
        Ok(Key { span: Span { start, end }, is_escaped, value_start })
    }

    /// The end of the string whose opening quote is at `start`. A raw line feed breaks a string:
    /// JSON forbids it, and in a log it means that the line was cut.
    #[inline]
    fn string(&mut self, bytes: &[u8], start: usize) -> Scan<Quoted> {
        let end = next_special(bytes, start + 1).ok_or(Damage { at: bytes.len() })?;
        match bytes.get(end) {
            Some(b'"') => Ok(Quoted { end: end + 1, is_escaped: false }),
            _ => self.odd_string(bytes, end),
        }
    }

    /// The rest of a string, from a byte in it that is special and no quote.
    fn odd_string(&mut self, bytes: &[u8], mut at: usize) -> Scan<Quoted> {
        let mut is_escaped = false;
        loop {
            at = next_special(bytes, at).ok_or(Damage { at: bytes.len() })?;
            let rest = bytes.get(at..).unwrap_or_default();
            at += match rest {
                [b'"', ..] => return Ok(Quoted { end: at + 1, is_escaped }),
                [b'\n', ..] => return Err(Damage { at }),
                [b'\\', escape @ ..] => {
                    is_escaped = true;
                    1 + escape_len(escape).unwrap_or_else(|| {
                        self.flaw_at.get_or_insert(at);
                        // A line feed is damage wherever it stands.
                        usize::from(escape.first() != Some(&b'\n'))
                    })
                }
                _ => {
                    self.flaw_at.get_or_insert(at);
                    1
                }
            };
        }
    }

    /// The end of the number, `true`, `false` or `null` at `start`.
    fn literal(&mut self, bytes: &[u8], start: usize) -> Scan<usize> {
        let rest = bytes.get(start..).unwrap_or_default();
        if matches!(rest.first(), Some(b'-' | b'0'..=b'9')) {
            let is_of_number =
                |b: &&u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            let len = rest.iter().take_while(is_of_number).count();
            if !is_number(rest.get(..len).unwrap_or_default()) {
                self.flaw_at.get_or_insert(start);
            }
            return Ok(start + len);
        }
        let words = [&b"null"[..], b"true", b"false"];
        let word = words.iter().find(|word| rest.starts_with(word));
        word.map(|word| start + word.len()).ok_or(Damage { at: start })
    }

    fn open(&mut self, depth: usize, is_object: bool) {
        let (word, bit) = (depth / 64, 1 << (depth % 64));
        if word >= self.kinds.len() {
            self.kinds.resize(word + 1, 0);
        }
        if let Some(kinds) = self.kinds.get_mut(word) {
            *kinds = if is_object { *kinds | bit } else { *kinds & !bit };
        }
    }

    fn is_object(&self, depth: usize) -> bool {
        self.kinds.get(depth / 64).is_some_and(|kinds| kinds & (1 << (depth % 64)) != 0)
    }
}

impl Key {
    pub(super) fn node(self) -> Node {
        Node { kind: Kind::text(self.is_escaped), span: self.span }
    }
}

/// The place from `at` on of a quote, a backslash or a control character.
#[inline]
fn next_special(bytes: &[u8], mut at: usize) -> Option<usize> {
    let is_special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
    let mut rest = bytes.get(at..)?;
    // Eight bytes at a time: most strings are too short for a call to a wider search to pay.
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let found = special_in(u64::from_le_bytes(*chunk));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        (at, rest) = (at + 8, after);
    }
    rest.iter().position(is_special).map(|found| at + found)
}

/// The high bit of the lowest byte that is special; bits above that one say nothing.
#[inline]
fn special_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = below(word ^ (ONES * 0x22), 1);
    let backslash = below(word ^ (ONES * 0x5C), 1);
    (quote | backslash | below(word, 0x20)) & HIGH
}

/// How long an escape is behind its backslash; None when there is no such escape.
fn escape_len(escape: &[u8]) -> Option<usize> {
    match escape {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(1),
        [b'u', digits @ ..] => {
            let digits: &[u8; 4] = digits.first_chunk()?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(5)
        }
        _ => None,
    }
}

/// Whether all of a text is one number.
fn is_number(text: &[u8]) -> bool {
    fn digits(rest: &[u8]) -> Option<&[u8]> {
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest.get(count..).filter(|_| count > 0)
    }
    fn rest(text: &[u8]) -> Option<&[u8]> {
        let unsigned = text.strip_prefix(b"-").unwrap_or(text);
        let rest = match unsigned {
            [b'0', after @ ..] => after,
            _ => digits(unsigned)?,
        };
        let rest = match rest {
            [b'.', fraction @ ..] => digits(fraction)?,
            _ => rest,
        };
        match rest {
            [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
                digits(exponent)
            }
            _ => Some(rest),
        }
    }
    rest(text).is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(usize, usize), usize>) {
        let found = Scanner::default().value(text.as_bytes(), 0);
        let found = found.map(|e| (e.end, e.depth)).map_err(|damage| damage.at);
        assert_eq!(found, expected, "{text}");
        for levels in 0..4 {
            let found = Scanner::default().nodes(text.as_bytes(), 0, levels, &mut Vec::new());
            let found = found.map(|e| (e.end, e.depth)).map_err(|damage| damage.at);
            assert_eq!(found, expected, "{levels} levels of {text}");
        }
    }

    #[test]
    fn finds_the_end_of_a_value() {
        check("1 ", Ok((1, 0)));
        check(r#""a\"b","#, Ok((6, 0)));
        check(r#""0123456789abcdef\\" "#, Ok((20, 0)));
        check(r#"{"a":[1,{"b":null}]},{}"#, Ok((20, 3)));
        check("{ \"a\" : [ ] } x", Ok((13, 2)));
        check("[[],[[]]]", Ok((9, 3)));
    }

    #[test]
    fn tells_where_the_structure_breaks() {
        check("", Err(0));
        check("[1", Err(2));
        check(r#"{"a":1"#, Err(6));
        check(r#""abc"#, Err(4));
        check("\"ab\nc\"", Err(3));
        check("\"ab\\\nc\"", Err(4));
        check(r#""abc\"#, Err(5));
        check(r#""abc\""#, Err(6));
        check(r#"{"a" 1}"#, Err(5));
        check("[1}", Err(2));
        check(r#"{"a":1]"#, Err(6));
        check("[1 2]", Err(3));
        check("{1:2}", Err(1));
        check("nul", Err(0));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(3_000_000), "]".repeat(3_000_000));
        check(&deep, Ok((6_000_000, 3_000_000)));
    }

    fn check_flaw(text: &str, expected: Option<usize>) {
        let mut scanner = Scanner::default();
        let extent = scanner.value(text.as_bytes(), 0).expect("a sound extent");
        assert_eq!((extent.end, scanner.take_flaw()), (text.len(), expected), "{text}");
    }

    #[test]
    fn judges_strings_and_numbers() {
        for text in ["0", "-0.5e+10", "123456789012345678901234567890", "1e999", r#""\ud800""#] {
            check_flaw(text, None);
        }
        for text in ["01", "-", "1.", "1e", "1-2"] {
            check_flaw(text, Some(0));
        }
        for text in [r#""\x""#, r#""\u12g4""#, "\"\u{1}\"", r#""\u12""#] {
            check_flaw(text, Some(1));
        }
        check_flaw(r#"{"a":["0123456789\e",01]}"#, Some(17));
    }

    proptest! {
        #[test]
        fn agrees_with_a_parser(text in r#"[\[\]{}:, "a\\u0-3.eE+-]{0,12}"#) {
            let trimmed = text.trim();
            let mut scanner = Scanner::default();
            let has_extent = scanner.value(trimmed.as_bytes(), 0)
                .is_ok_and(|extent| extent.end == trimmed.len());
            let sound = has_extent && scanner.take_flaw().is_none();
            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(trimmed).is_ok();
            prop_assert_eq!(sound, parsed, "{}", trimmed);
        }

        #[test]
        fn finds_what_is_special(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(next_special(&bytes, 0), expected);
        }
    }
}
