//! The text of the column `other`: what an event says beyond the columns.
//!
//! Promise: one JSON object of raw members, in the order they were added.

/// The object while it is being written; its buffer is kept from event to event.
#[derive(Default)]
pub(in super::super) struct Leftovers {
    text: String,
    /// The known object whose remainder is being written.
    parent: Option<&'static str>,
}

impl Leftovers {
    pub(in super::super) fn clear(&mut self) {
        self.text.clear();
        self.parent = None;
    }

    /// Adds a member of the event itself: key with quotes, and value, as received.
    pub(in super::super) fn member(&mut self, key: &str, value: &str) {
        self.close_parent();
        self.separate();
        self.pair(key, value);
    }

    /// Adds a member of the known object `parent`. Members of one parent come one after the other.
    pub(in super::super) fn nested(&mut self, parent: &'static str, key: &str, value: &str) {
        if self.parent == Some(parent) {
            self.text.push(',');
        } else {
            self.close_parent();
            self.separate();
            self.text.push('"');
            self.text.push_str(parent);
            self.text.push_str("\":{");
            self.parent = Some(parent);
        }
        self.pair(key, value);
    }

    /// The whole text; None when nothing was added.
    pub(in super::super) fn finish(&mut self) -> Option<&str> {
        if self.text.is_empty() {
            return None;
        }
        self.close_parent();
        self.text.push('}');
        Some(&self.text)
    }

    fn close_parent(&mut self) {
        if self.parent.take().is_some() {
            self.text.push('}');
        }
    }

    fn separate(&mut self) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.text.push_str(key);
        self.text.push(':');
        self.text.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Leftovers), expected: Option<&str>) {
        let mut leftovers = Leftovers::default();
        for _ in 0..2 {
            leftovers.clear();
            write(&mut leftovers);
            assert_eq!(leftovers.finish(), expected);
        }
    }

    #[test]
    fn is_one_object() {
        check(|_| {}, None);
        check(|l| l.member(r#""a""#, "1"), Some(r#"{"a":1}"#));
        check(|l| l.nested("user", r#""b""#, "[]"), Some(r#"{"user":{"b":[]}}"#));
        check(
            |l| {
                l.nested("user", r#""b""#, "2");
                l.nested("user", r#""c""#, "3");
                l.nested("objectRef", r#""d""#, "4");
                l.member(r#""e""#, "5");
                l.member(r#""f""#, "6");
            },
            Some(r#"{"user":{"b":2,"c":3},"objectRef":{"d":4},"e":5,"f":6}"#),
        );
    }
}
