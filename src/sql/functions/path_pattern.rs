//! `match` and `search` of `JSONPath` (RFC 9535, sections 2.4.6 and 2.4.7) with patterns that are
//! compiled once. The crate's own compile a pattern for every node that a filter looks at, which
//! takes a thousand times as long as asking it, and whoever writes a body says how many there are.

use std::cell::RefCell;

use hashbrown::HashMap;
use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;
use serde_json_path::functions::{LogicalType, ValueType};

/// What a compiled pattern may take, bytes: one that takes more matches nothing.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// So many are kept on a thread: a path may take patterns from the text itself.
const KEPT_MAX: usize = 256;

thread_local! {
    /// By whether all of a text must match, and the pattern; `None` of what is no pattern.
    static PATTERNS: RefCell<[HashMap<String, Option<Regex>>; 2]> = RefCell::default();
}

#[serde_json_path::function(name = "match")]
fn match_whole(text: ValueType, pattern: ValueType) -> LogicalType {
    matches(&text, &pattern, true)
}

#[serde_json_path::function(name = "search")]
fn search_in(text: ValueType, pattern: ValueType) -> LogicalType {
    matches(&text, &pattern, false)
}

fn matches(text: &ValueType<'_>, pattern: &ValueType<'_>, whole: bool) -> LogicalType {
    let (Some(Json::String(text)), Some(Json::String(pattern))) =
        (text.as_value(), pattern.as_value())
    else {
        return LogicalType::False;
    };
    let matches = PATTERNS.with_borrow_mut(|[within, of_all]| {
        let kept = if whole { of_all } else { within };
        if let Some(compiled) = kept.get(pattern) {
            return compiled.as_ref().is_some_and(|compiled| compiled.is_match(text));
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let compiled = compile(pattern, whole);
        let matches = compiled.as_ref().is_some_and(|compiled| compiled.is_match(text));
        kept.insert(pattern.clone(), compiled);
        matches
    });
    matches.into()
}

/// `R` makes `.` mean what I-Regexp (RFC 9485) says: anything but carriage return and line feed.
fn compile(pattern: &str, whole: bool) -> Option<Regex> {
    let text = if whole { format!("(?R)^({pattern})$") } else { format!("(?R)({pattern})") };
    RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).build().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json_path::JsonPath;

    use super::*;

    #[test]
    fn patterns_match_as_published_and_are_kept() {
        let found = |path: &str, expected: &[usize]| {
            let texts = json!(["ab", "xab", "a\nb", "", 7, ["ab"], "("]);
            let path = JsonPath::parse(path).unwrap();
            let located = path.query_located(&texts);
            let found: Vec<String> = located.locations().map(ToString::to_string).collect();
            let expected: Vec<String> = expected.iter().map(|n| format!("$[{n}]")).collect();
            assert_eq!(found, expected);
        };
        found("$[?match(@, 'a.*')]", &[0]);
        found("$[?search(@, 'a')]", &[0, 1, 2]);
        found("$[?match(@, 'b|ab')]", &[0]);
        found("$[?search(@, '^$')]", &[3]);
        found("$[?search(@, '(')]", &[]);
        // The text itself says what to look for; there is no end to such patterns.
        found("$[?match(@, @)]", &[0, 1, 2, 3]);
        let kept = PATTERNS.with_borrow(|kept| kept.each_ref().map(HashMap::len));
        assert_eq!(kept, [3, 7]);
        let many: Vec<String> = (0..2 * KEPT_MAX).map(|n| n.to_string()).collect();
        assert_eq!(
            JsonPath::parse("$[?match(@, @)]").unwrap().query(&json!(many)).len(),
            many.len()
        );
        assert!(PATTERNS.with_borrow(|[_, of_all]| of_all.len()) <= KEPT_MAX);
    }
}
