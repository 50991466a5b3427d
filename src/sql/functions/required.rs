//! Words that a JSON text must have for a path to find anything in it: a text without one of them
//! need not be made a tree of, and most texts lack them.
//!
//! Told from the path's text, on the safe side: what is not understood requires nothing.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

/// The words of one path.
#[derive(Debug, Default)]
pub(super) struct Required(Vec<Finder<'static>>);

impl Required {
    /// Of a path that is well-formed (RFC 9535).
    pub(super) fn of(path: &str) -> Self {
        let words = of_path(path);
        Self(words.iter().map(|word| Finder::new(word.as_bytes()).into_owned()).collect())
    }

    /// True when the path cannot find anything in the text, if it is JSON.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        let text = text.as_bytes();
        // A word may be written in escapes.
        let plain = || {
            memchr::memchr(b'\\', text).is_none()
                || (memchr::memmem::find(text, b"\\u").is_none()
                    && memchr::memmem::find(text, b"\\/").is_none())
        };
        self.0.iter().any(|word| word.find(text).is_none()) && plain()
    }
}

type Words = BTreeSet<String>;

/// What a path requires: its names, and what its filters do.
fn of_path(path: &str) -> Words {
    let mut words = Words::new();
    let mut rest = path;
    while let Some(char) = rest.chars().next() {
        let after = rest.get(char.len_utf8()..).unwrap_or_default();
        match char {
            '[' => {
                let Some((inside, behind)) = bracketed(after) else { return words };
                of_selectors(inside, &mut words);
                rest = behind;
            }
            char if is_name(char) => {
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                let (name, behind) = rest.split_at(end);
                add(name, &mut words);
                rest = behind;
            }
            _ => rest = after,
        }
    }
    words
}

/// What stands between brackets: one name, one filter, or something that requires nothing.
fn of_selectors(inside: &str, words: &mut Words) {
    let inside = inside.trim();
    if split(inside, ",").len() > 1 {
        return;
    }
    if let Some(filter) = inside.strip_prefix('?') {
        words.extend(of_filter(filter));
    } else if let Some(name) = literal(inside) {
        add(name, words);
    }
}

/// What must be there for a filter to hold.
fn of_filter(filter: &str) -> Words {
    let filter = filter.trim();
    let alternatives = split(filter, "||");
    if alternatives.len() > 1 {
        let mut all = alternatives.into_iter().map(of_filter);
        let first = all.next().unwrap_or_default();
        return all.fold(first, |common, words| common.intersection(&words).cloned().collect());
    }
    let parts = split(filter, "&&");
    if parts.len() > 1 {
        return parts.into_iter().flat_map(of_filter).collect();
    }
    if let Some(inside) = filter.strip_prefix('(') {
        return match parenthesised(inside) {
            Some((inside, "")) => of_filter(inside),
            _ => Words::new(),
        };
    }
    for function in ["search(", "match("] {
        if let Some(arguments) = filter.strip_prefix(function) {
            let Some((inside, "")) = parenthesised(arguments) else { return Words::new() };
            return split(inside, ",").first().map(|path| of_query(path)).unwrap_or_default();
        }
    }
    match split(filter, "==").as_slice() {
        [query] => of_query(query),
        // What is not there equals nothing that is written.
        [left, right] if is_written(right) => of_equal(left, right),
        [left, right] if is_written(left) => of_equal(right, left),
        _ => Words::new(),
    }
}

fn of_equal(query: &str, written: &str) -> Words {
    if !is_query(query) {
        return Words::new();
    }
    let mut words = of_query(query);
    if let Some(text) = literal(written.trim()) {
        add(text, &mut words);
    }
    words
}

/// A query that is to find something; anything else requires nothing.
fn of_query(query: &str) -> Words {
    let query = query.trim();
    let plain = is_query(query) && split(query, "<").len() + split(query, ">").len() == 2;
    if plain && split(query, "!=").len() == 1 {
        of_path(query.get(1..).unwrap_or(""))
    } else {
        Words::new()
    }
}

fn is_query(text: &str) -> bool {
    text.trim().starts_with(['@', '$'])
}

/// A literal, which a value that is there is compared with.
fn is_written(text: &str) -> bool {
    let text = text.trim();
    literal(text).is_some()
        || ["true", "false", "null"].contains(&text)
        || text.parse::<f64>().is_ok()
}

/// The text between quotes, when there is nothing in it that can be written in two ways.
fn literal(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|char| matches!(char, '"' | '\''))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inside.contains(['"', '\'', '\\'])).then_some(inside)
}

fn add(word: &str, words: &mut Words) {
    let plain = word.chars().all(|char| !char.is_control() && !matches!(char, '"' | '\\' | '/'));
    if plain && !word.is_empty() {
        words.insert(word.to_owned());
    }
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || !char.is_ascii()
}

/// What is before the bracket that closes, and what is behind it.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    closed(text, ']')
}

fn parenthesised(text: &str) -> Option<(&str, &str)> {
    closed(text, ')').map(|(inside, behind)| (inside, behind.trim()))
}

fn closed(text: &str, close: char) -> Option<(&str, &str)> {
    let (at, _) = outside(text).find(|(at, depth)| {
        *depth == 0 && text.get(*at..).is_some_and(|rest| rest.starts_with(close))
    })?;
    Some((text.get(..at)?, text.get(at + close.len_utf8()..)?))
}

/// The parts between separators that stand neither in brackets nor in quotes.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, depth) in outside(text) {
        let here = text.get(at..).is_some_and(|rest| rest.starts_with(separator));
        if here && depth == 0 && at >= from {
            parts.extend(text.get(from..at));
            from = at + separator.len();
        }
    }
    parts.extend(text.get(from..));
    parts
}

/// The characters outside of quotes, with how many brackets are open around each. A bracket that
/// closes counts as outside of what it closes.
fn outside(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    text.char_indices().filter_map(move |(at, char)| {
        if let Some(open) = quote {
            match char {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                char if char == open => quote = None,
                _ => {}
            }
            return None;
        }
        match char {
            '"' | '\'' => {
                quote = Some(char);
                None
            }
            '[' | '(' => {
                depth += 1;
                Some((at, depth - 1))
            }
            ']' | ')' => {
                let around = depth.saturating_sub(1);
                let here = if depth == 0 { 0 } else { usize::MAX };
                depth = around;
                Some((at, here))
            }
            _ => Some((at, depth)),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json_path::JsonPath;

    use super::*;

    fn words(path: &str) -> Vec<String> {
        of_path(path).into_iter().collect()
    }

    #[test]
    fn names_and_values_that_must_be_there_are_required() {
        assert_eq!(words("$.roleRef.name"), ["name", "roleRef"]);
        assert_eq!(words("$['roleRef'][0]..kind"), ["kind", "roleRef"]);
        assert_eq!(
            words("$..[?@.securityContext.privileged == true].image"),
            ["image", "privileged", "securityContext"]
        );
        assert_eq!(
            words(r#"$[?@.name == "cluster-admin" && @.kind == "ClusterRole"]"#),
            ["ClusterRole", "cluster-admin", "kind", "name"]
        );
        assert_eq!(
            words(r#"$..[?@.verbs[?@ == "bind" || @ == "escalate"] || (@.verbs[?@ == "*"])]"#),
            ["verbs"]
        );
        assert_eq!(words(r#"$[?search(@.path, "^/rules")]"#), ["path"]);
    }

    #[test]
    fn what_may_be_missing_is_not_required() {
        let none: [&str; 0] = [];
        for path in [
            "$[?!@.a]",
            "$[?@.a != 1]",
            "$[?@.a == @.b]",
            "$[?count(@.a) == 0]",
            "$[?length(@.a) == 1 || @.b]",
            "$['a', 'b']",
            "$[*]",
            "$[?@.a || @.b]",
            "$[?@.a <= @.b]",
        ] {
            assert_eq!(words(path), none, "{path}");
        }
        assert_eq!(words(r#"$["a\"b"]"#), none);
    }

    #[test]
    fn escapes_hide_nothing() {
        let required = Required::of("$.name");
        assert!(required.is_missing(r#"{"nam":"\n"}"#));
        assert!(!required.is_missing(r#"{"n\u0061me":1}"#));
        assert!(!required.is_missing(r#"{"name":1}"#));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let name = prop_oneof![Just("a"), Just("b"), Just("path"), Just("c d")];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (0..3).prop_map(Into::into),
            prop_oneof![Just("x"), Just("a"), Just("")].prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Paths of all that the language has, by chance.
    fn path() -> impl Strategy<Value = String> {
        let operand = prop_oneof![
            Just("@.a"),
            Just("@['b']"),
            Just("@..path"),
            Just("@"),
            Just("$.a"),
            Just("'x'"),
            Just("1"),
            Just("true"),
            Just("null"),
            Just("length(@.a)"),
            Just("count(@.*)"),
        ];
        let operator = prop_oneof![
            4 => Just("=="), 1 => Just("!="), 1 => Just("<"), 1 => Just("<="), 1 => Just(">")
        ];
        let compared = (operand.clone(), operator, operand)
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}"));
        let test = prop_oneof![
            Just("@.a"),
            Just("!@.b"),
            Just("search(@.path, 'x')"),
            Just("@.a[?@ == 'x']"),
            Just("@['a','b']")
        ];
        let filter = prop_oneof![compared, test.prop_map(str::to_owned)];
        let filter = filter.prop_recursive(3, 8, 2, |inner| {
            (inner.clone(), prop_oneof![Just("&&"), Just("||")], inner, any::<bool>()).prop_map(
                |(left, joint, right, not)| {
                    format!("{}({left} {joint} {right})", if not { "!" } else { "" })
                },
            )
        });
        let segment = prop_oneof![
            Just(".a".to_owned()),
            Just("..b".to_owned()),
            Just("['c d']".to_owned()),
            Just("[*]".to_owned()),
            Just("[0]".to_owned()),
            Just("['a',1]".to_owned()),
            filter.prop_map(|filter| format!("[?{filter}]")),
        ];
        prop::collection::vec(segment, 1..4).prop_map(|segments| format!("${}", segments.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn what_a_path_finds_is_never_ruled_out(json in json(), path in path()) {
            let Ok(parsed) = JsonPath::parse(&path) else { return Ok(()) };
            if !parsed.query(&json).is_empty() {
                prop_assert!(!Required::of(&path).is_missing(&json.to_string()), "{path} {json}");
            }
        }
    }
}
