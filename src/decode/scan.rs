//! Where JSON values end, without reading them.
//!
//! Promise: a value whose brackets, commas, colons and quotes are in order has an extent, found
//! in one pass with a stack of one bit per level on the heap.
//!
//! Never: what is inside strings and numbers is not judged here, except by [`is_json`]: the
//! parser does that. No recursion.

use memchr::memchr3;

use super::quarantine::Span;

/// One member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The key with its quotes.
    pub(super) key: Span,
    /// The value without the white space around it.
    pub(super) value: Span,
}

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

type Scan<T> = Result<T, Damage>;

/// The position of the first byte from `at` on that is not white space.
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the string whose opening quote is at `start`. A raw line feed breaks a string: JSON
/// forbids it, and in a log it means that the line was cut.
fn string_end(bytes: &[u8], start: usize) -> Scan<usize> {
    let mut at = start + 1;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let found = memchr3(b'"', b'\\', b'\n', rest).ok_or(Damage { at: bytes.len() })?;
        at += found;
        match rest.get(found) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            _ => return Err(Damage { at }),
        }
    }
}

/// The end of the number, `true`, `false` or `null` at `start`.
fn literal_end(bytes: &[u8], start: usize) -> Scan<usize> {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = match rest.first() {
        Some(b'-' | b'0'..=b'9') => rest
            .iter()
            .take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .count(),
        Some(_) => [&b"null"[..], b"true", b"false"]
            .iter()
            .find(|word| rest.starts_with(word))
            .map(|word| word.len())
            .ok_or(Damage { at: start })?,
        None => return Err(Damage { at: start }),
    };
    Ok(start + len)
}

/// Reads `"key" :` at `at`; returns the key with its quotes and where the value starts.
pub(super) fn key(bytes: &[u8], at: usize) -> Scan<(Span, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Damage { at });
    }
    let end = string_end(bytes, at)?;
    let colon = skip_space(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return Err(Damage { at: colon });
    }
    Ok((Span { start: at, end }, skip_space(bytes, colon + 1)))
}

/// Finds extents; holds the stack of open brackets.
#[derive(Default)]
pub(super) struct Scanner {
    /// One bit per level: set for an object, clear for a list.
    kinds: Vec<u64>,
}

impl Scanner {
    /// The extent of the value that starts exactly at `start`.
    pub(super) fn value(&mut self, bytes: &[u8], start: usize) -> Scan<Extent> {
        let mut at = start;
        let mut depth = 0;
        let mut deepest = 0;
        loop {
            match bytes.get(at) {
                Some(open @ (b'{' | b'[')) => {
                    let is_object = *open == b'{';
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
                            at = key(bytes, at)?.1;
                            continue;
                        }
                        (_, false) => continue,
                    }
                }
                Some(b'"') => at = string_end(bytes, at)?,
                _ => at = literal_end(bytes, at)?,
            }
            // A value is complete; close what it completes, up to the next value.
            loop {
                let Some(above) = depth.checked_sub(1) else {
                    return Ok(Extent { end: at, depth: deepest });
                };
                at = skip_space(bytes, at);
                match (bytes.get(at), self.is_object(above)) {
                    (Some(b','), true) => {
                        at = key(bytes, skip_space(bytes, at + 1))?.1;
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

    /// Fills `members` with those of the object that starts exactly at the first byte.
    pub(super) fn members(&mut self, bytes: &[u8], members: &mut Vec<Member>) -> Scan<Extent> {
        members.clear();
        let mut at = skip_space(bytes, 1);
        let mut deepest = 0;
        if bytes.get(at) == Some(&b'}') {
            return Ok(Extent { end: at + 1, depth: 1 });
        }
        loop {
            let (key, start) = key(bytes, at)?;
            let Extent { end, depth } = self.value(bytes, start)?;
            deepest = deepest.max(depth);
            members.push(Member { key, value: Span { start, end } });
            at = skip_space(bytes, end);
            match bytes.get(at) {
                Some(b',') => at = skip_space(bytes, at + 1),
                Some(b'}') => {
                    return Ok(Extent { end: at + 1, depth: deepest + 1 });
                }
                _ => return Err(Damage { at }),
            }
        }
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

/// Whether a value with a sound extent is JSON (RFC 8259) down to its strings and numbers. It
/// takes more than most parsers: numbers of any size and `\u` escapes of half a surrogate pair
/// are within the grammar.
pub(super) fn is_json(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => match string_rest(after) {
                Some(after) => after,
                None => return false,
            },
            b'-' | b'0'..=b'9' => match number_rest(rest) {
                Some(after) => after,
                None => return false,
            },
            _ => after,
        };
    }
    true
}

/// What follows a string whose opening quote was taken, if the string is sound.
fn string_rest(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'u', a, b, c, d, after @ ..]
                if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                after
            }
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after @ ..] => after,
            [b'\\' | 0..0x20, ..] | [] => return None,
            [_, after @ ..] => after,
        };
    }
}

/// What follows a number, if the number is sound.
fn number_rest(rest: &[u8]) -> Option<&[u8]> {
    fn digits(rest: &[u8]) -> Option<&[u8]> {
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest.get(count..).filter(|_| count > 0)
    }
    let unsigned = rest.strip_prefix(b"-").unwrap_or(rest);
    let rest = match unsigned {
        [b'0', after @ ..] => after,
        _ => digits(unsigned)?,
    };
    let rest = match rest {
        [b'.', fraction @ ..] => digits(fraction)?,
        _ => rest,
    };
    let rest = match rest {
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            digits(exponent)?
        }
        _ => rest,
    };
    let is_over = !matches!(rest, [b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-', ..]);
    is_over.then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(usize, usize), usize>) {
        let found = Scanner::default().value(text.as_bytes(), 0);
        let found = found.map(|e| (e.end, e.depth)).map_err(|damage| damage.at);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn finds_the_end_of_a_value() {
        check("1 ", Ok((1, 0)));
        check(r#""a\"b","#, Ok((6, 0)));
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
        check(r#""abc\"#, Err(5));
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

    fn check_json(text: &str, expected: bool) {
        assert_eq!(is_json(text), expected, "{text}");
    }

    #[test]
    fn judges_strings_and_numbers() {
        for text in ["0", "-0.5e+10", "123456789012345678901234567890", "1e999", r#""\ud800""#] {
            check_json(text, true);
        }
        for text in ["01", "-", "1.", "1e", "1-2", r#""\x""#, r#""\u12g4""#, "\"\u{1}\""] {
            check_json(text, false);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_parser(text in r#"[\[\]{}:, "a\\u0-3.eE+-]{0,12}"#) {
            let trimmed = text.trim();
            let sound = Scanner::default().value(trimmed.as_bytes(), 0)
                .is_ok_and(|extent| extent.end == trimmed.len());
            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(trimmed).is_ok();
            prop_assert_eq!(sound && is_json(trimmed), parsed, "{}", trimmed);
        }
    }
}
