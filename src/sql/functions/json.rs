//! Questions to JSON text by `JSONPath` (RFC 9535): `json_exists`, `json_value`, `json_query`.
//!
//! The names and their sense are SQL/JSON's, the path language is RFC 9535's. Text that is not
//! JSON answers NULL; one in brackets or braces that has none of the words that the path requires
//! is not read to see. What lies deeper than [`DEPTH_MAX`] levels is seen as `null`: nobody can
//! make a whole body unreadable by burying junk in it.

use std::borrow::Cow;
use std::cell::RefCell;

use datafusion::common::plan_err;
use datafusion::error::Result;
use hashbrown::HashMap;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::required::Required;
use super::text::{Argument, Gives, TextFunction, Value};

/// Levels of nesting a path can see: below `serde_json`'s own limit of 128, at which it gives up.
const DEPTH_MAX: usize = 100;

/// Longest path: a path is parsed by recursion, and no honest one comes near.
const PATH_BYTES_MAX: usize = 4 * 1024;

const ARGUMENTS: &[Argument] = &[
    Argument { name: "json", meaning: "JSON text." },
    Argument { name: "path", meaning: "A JSONPath (RFC 9535), best a constant." },
];

/// `json_exists(json, path)`
pub(super) struct Exists;

impl TextFunction for Exists {
    const NAME: &'static str = "json_exists";
    const ARGUMENTS: &'static [Argument] = ARGUMENTS;
    const DESCRIPTION: &'static str =
        "Whether the path finds anything in the JSON text. NULL if the text is not JSON.";
    const EXAMPLE: &'static str =
        r#"json_exists(request_object, '$.rules[?@.verbs[?@ == "escalate"]]')"#;
    const GIVES: Gives = Gives::Boolean;
    type Prepared = Path;

    fn prepare(argument: &str) -> Result<Path> {
        Path::new(Self::NAME, argument)
    }

    fn evaluate<'a>(path: &Path, text: &'a str) -> Value<'a> {
        if path.required.is_missing(text) && is_json(text) {
            return Some(false).into();
        }
        read(text, |json| Some(!path.path.query(json).is_empty())).into()
    }
}

/// `json_value(json, path)`
pub(super) struct First;

impl TextFunction for First {
    const NAME: &'static str = "json_value";
    const ARGUMENTS: &'static [Argument] = ARGUMENTS;
    const DESCRIPTION: &'static str = "The first thing the path finds, as text: a string without \
         its quotes, a number, true or false. NULL if it finds nothing, null, a list or an object, \
         or if the text is not JSON.";
    const EXAMPLE: &'static str = "json_value(request_object, '$.roleRef.name')";
    const GIVES: Gives = Gives::Text;
    type Prepared = Path;

    fn prepare(argument: &str) -> Result<Path> {
        Path::new(Self::NAME, argument)
    }

    fn evaluate<'a>(path: &Path, text: &'a str) -> Value<'a> {
        if path.required.is_missing(text) {
            return Value::Null;
        }
        let scalar = read(text, |json| match path.path.query(json).first()? {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(answer) => Some(answer.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        });
        scalar.map(Cow::Owned).into()
    }
}

/// `json_query(json, path)`
pub(super) struct All;

impl TextFunction for All {
    const NAME: &'static str = "json_query";
    const ARGUMENTS: &'static [Argument] = ARGUMENTS;
    const DESCRIPTION: &'static str = "All that the path finds, as the text of one JSON list, `[]` \
         when it finds nothing. NULL if the text is not JSON.";
    const EXAMPLE: &'static str = "json_query(request_object, '$.subjects[*].name')";
    const GIVES: Gives = Gives::Text;
    type Prepared = Path;

    fn prepare(argument: &str) -> Result<Path> {
        Path::new(Self::NAME, argument)
    }

    fn evaluate<'a>(path: &Path, text: &'a str) -> Value<'a> {
        if path.required.is_missing(text) && is_json(text) {
            return Some(Cow::Borrowed("[]")).into();
        }
        let found = read(text, |json| serde_json::to_string(&path.path.query(json)).ok());
        found.map(Cow::Owned).into()
    }
}

/// A path, and what a text must have for it.
pub(super) struct Path {
    path: JsonPath,
    required: Required,
}

impl Path {
    fn new(function: &str, text: &str) -> Result<Self> {
        if text.len() > PATH_BYTES_MAX {
            return plan_err!("{function}: path longer than {PATH_BYTES_MAX} bytes");
        }
        let path = JsonPath::parse(text);
        let path = path.or_else(|error| plan_err!("{function}: path `{text}`: {error}"))?;
        Ok(Self { path, required: Required::of(text) })
    }
}

/// Whether a text that lacks what a path requires may be taken for JSON without being read: bodies
/// are, and a filter drops what is false and what is NULL alike.
fn is_json(text: &str) -> bool {
    let ends = (text.trim_start().as_bytes().first(), text.trim_end().as_bytes().last());
    matches!(ends, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
}

/// How much text is kept as trees on a thread: a batch's bodies, asked by one detection after the
/// other. A tree takes about eight times as much.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What a tree takes beside its text, about.
const ENTRY_BYTES: usize = 128;

/// Longer texts are read anew each time.
const KEPT_TEXT_BYTES_MAX: usize = KEPT_BYTES_MAX / 4;

/// Trees of the texts that were read last, `None` for those that are not JSON.
#[derive(Default)]
struct Trees {
    by_text: HashMap<Box<str>, Option<Json>>,
    bytes: usize,
}

thread_local! {
    static TREES: RefCell<Trees> = RefCell::default();
}

/// What `answer` says of the text's tree; `None` also when it is not JSON.
fn read<T>(text: &str, answer: impl FnOnce(&Json) -> Option<T>) -> Option<T> {
    if text.len() > KEPT_TEXT_BYTES_MAX {
        return answer(&parse(text)?);
    }
    TREES.with_borrow_mut(|trees| {
        if let Some(tree) = trees.by_text.get(text) {
            return answer(tree.as_ref()?);
        }
        if trees.bytes + text.len() + ENTRY_BYTES > KEPT_BYTES_MAX {
            *trees = Trees::default();
        }
        trees.bytes += text.len() + ENTRY_BYTES;
        let tree = trees.by_text.entry(text.into()).insert(parse(text)).into_mut();
        answer(tree.as_ref()?)
    })
}

/// The text as a tree, `None` when it is not JSON.
fn parse(text: &str) -> Option<Json> {
    match serde_json::from_str(text) {
        Ok(json) => Some(json),
        Err(_) => serde_json::from_str(&prune(text)?).ok(),
    }
}

/// `text` with every list and object deeper than [`DEPTH_MAX`] replaced by `null`; `None` when
/// there is none, so that the text is not JSON for another reason.
fn prune(text: &str) -> Option<String> {
    let mut pruned = String::new();
    let (mut depth, mut kept, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth == DEPTH_MAX + 1 {
                    pruned.push_str(text.get(kept..at)?);
                    pruned.push_str("null");
                }
            }
            b']' | b'}' => {
                // One bracket too many is no JSON, however it is cut.
                depth = depth.checked_sub(1)?;
                if depth == DEPTH_MAX {
                    kept = at + 1;
                }
            }
            _ => {}
        }
    }
    if pruned.is_empty() {
        return None;
    }
    pruned.push_str(text.get(kept..)?);
    Some(pruned)
}

#[cfg(test)]
mod tests {
    use super::DEPTH_MAX;
    use crate::sql::functions::tests::{check, check_error, check_one};

    #[test]
    fn exists_is_true_false_or_null() {
        let rows = [Some(r#"{"a":[1,{"b":"x"}]}"#), Some("{}"), Some("no json"), None, Some("")];
        let expected = ["true", "false", "NULL", "NULL", "NULL"];
        check(&rows, "json_exists({}, '$.a[?@.b == \"x\"]')", &expected);
    }

    #[test]
    fn value_is_the_first_scalar() {
        let rows = [
            Some(r#"{"a":"x\ny"}"#),
            Some(r#"{"a":1.50}"#),
            Some(r#"{"a":true}"#),
            Some(r#"{"a":null}"#),
            Some(r#"{"a":{}}"#),
            Some(r#"{"a":18446744073709551615}"#),
            Some("[]"),
            None,
        ];
        let expected =
            ["x\ny", "1.5", "true", "NULL", "NULL", "18446744073709551615", "NULL", "NULL"];
        check(&rows, "json_value({}, '$.a')", &expected);
    }

    #[test]
    fn query_is_a_list_of_all() {
        let rows = [Some(r#"{"s":[{"n":"a"},{"n":["b"]}]}"#), Some("{}"), Some("{"), None];
        check(&rows, "json_query({}, '$.s[*].n')", &[r#"["a",["b"]]"#, "[]", "NULL", "NULL"]);
    }

    #[test]
    fn the_last_of_equal_members_counts_as_it_does_for_the_api_server() {
        check_one(r#"{"a":1,"a":2}"#, "json_value({}, '$.a')", "2");
    }

    #[test]
    fn bad_constant_paths_are_errors_that_name_path_and_reason() {
        check_error("json_exists('{}', '$.[')", "json_exists: path `$.[`");
        check_error("json_value(column1, 'a.b')", "json_value: path `a.b`");
        check_error("json_query(column1, '$[?@.a ==]')", "json_query: path `$[?@.a ==]`");
        let long = format!("json_exists(column1, '$.{}')", "a".repeat(5_000));
        check_error(&long, "path longer than 4096 bytes");
    }

    #[test]
    fn a_path_that_is_a_column_is_prepared_per_row_and_never_fails() {
        let rows = [Some("$.a"), Some("$.b"), Some("broken"), None];
        check(&rows, r#"json_value('{"a":1,"b":2}', {})"#, &["1", "2", "NULL", "NULL"]);
    }

    #[test]
    fn what_was_read_before_answers_the_same() {
        let texts: Vec<String> =
            (0..3_000).map(|n| format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(900))).collect();
        for round in 0..2 {
            for (n, text) in texts.iter().enumerate().step_by(7) {
                let value = super::read(text, |json| json.get("n")?.as_u64());
                assert_eq!(value, Some(n as u64), "round {round}");
                let kept = super::TREES.with_borrow(|trees| trees.bytes);
                assert!(kept <= super::KEPT_BYTES_MAX, "{kept} bytes are kept");
            }
        }
        assert_eq!(super::read("no json", |_| Some(())), None);
        assert_eq!(super::read("no json", |_| Some(())), None);
    }

    #[test]
    fn junk_buried_deep_does_not_hide_the_rest() {
        for depth in [DEPTH_MAX - 1, DEPTH_MAX, 127, 128, 1_000, 50_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let body = format!(r#"{{"junk":{open}"]\"}}"{close},"kind":"Role"}}"#);
            check_one(&body, "json_value({}, '$.kind')", "Role");
        }
        check_one(&"[".repeat(50_000), "json_exists({}, '$')", "NULL");
        check_one(&"]".repeat(50_000), "json_exists({}, '$')", "NULL");
    }
}
