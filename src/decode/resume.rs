//! Where reading can start again after damage.
//!
//! Promise: the next place is found by searching forward only, each byte a bounded number of
//! times, and the reading that led to damage is limited to a small multiple of the body.
//!
//! ```text
//! between values    the next line that starts with '{'
//! in a list         that, or the next object that begins as an event does, whichever is first
//! ```

use memchr::{memchr_iter, memmem};

/// Reading that ends in damage may take this many times the body's length.
const WASTE_FACTOR_MAX: usize = 8;

/// How an event begins, in the field order of the API server's encoder and of sorted keys. Only
/// used to find the next one after damage.
const EVENT_BEGINNINGS: [&[u8]; 4] =
    [br#"{"level":""#, br#"{"kind":"Event""#, br#"{"auditID":""#, br#"{"annotations":{"#];

/// The places of one body.
pub(super) struct Places<'b> {
    body: &'b [u8],
    wasted_bytes: usize,
    /// The last line found, and from where it was searched: true for all places in between.
    line: Option<(usize, usize)>,
}

impl<'b> Places<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self { body, wasted_bytes: 0, line: None }
    }

    /// Counts bytes that were read in vain; false when it is too much and the rest of the body
    /// is better given up. Only bodies made to be slow get there: brackets that open and open
    /// make each attempt run to the end.
    pub(super) fn may_go_on(&mut self, wasted_bytes: usize) -> bool {
        self.wasted_bytes = self.wasted_bytes.saturating_add(wasted_bytes);
        self.wasted_bytes / WASTE_FACTOR_MAX <= self.body.len()
    }

    /// The start of the next line that starts with `{`, after `from`; else the body's end.
    pub(super) fn line(&mut self, from: usize) -> usize {
        if let Some((searched_from, line)) = self.line
            && (searched_from..line).contains(&from)
        {
            return line;
        }
        let rest = self.body.get(from..).unwrap_or_default();
        let line = memmem::find(rest, b"\n{").map_or(self.body.len(), |at| from + at + 1);
        self.line = Some((from, line));
        line
    }

    /// The next event's beginning from `from` to the place `to`, included.
    pub(super) fn event(&self, from: usize, to: usize) -> Option<usize> {
        let reach = self.body.get(from..self.body.len().min(to + 1))?;
        memchr_iter(b'{', reach).map(|at| from + at).find(|at| {
            let rest = self.body.get(*at..).unwrap_or_default();
            EVENT_BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, from: usize, line: usize, event: Option<usize>) {
        let mut places = Places::new(body.as_bytes());
        assert_eq!(places.line(from), line, "{body}");
        assert_eq!(places.event(from, line), event, "{body}");
    }

    #[test]
    fn finds_the_next_line_and_the_next_event() {
        check("x", 0, 1, None);
        check("x\ny\n{}", 0, 4, None);
        check("x\n{}", 2, 4, None);
        check("{{\"level\":\"a\"}\n{", 0, 15, Some(1));
        check("x\n{\"level\":\"a\"}", 0, 2, Some(2));
        check("x\n{}\n{\"level\":\"a\"}", 0, 2, None);
        check("", 5, 0, None);
    }

    #[test]
    fn a_remembered_line_is_the_one_a_search_finds() {
        let body = "a\n{b\n{c";
        let mut places = Places::new(body.as_bytes());
        for from in [0, 1, 2, 3, 0, 4, 5, 6] {
            assert_eq!(places.line(from), Places::new(body.as_bytes()).line(from), "{from}");
        }
    }

    #[test]
    fn waste_is_limited() {
        let mut places = Places::new(b"0123456789");
        assert!(places.may_go_on(80));
        assert!(!places.may_go_on(10));
    }
}
