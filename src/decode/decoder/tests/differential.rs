//! What a general parser reads of an event is what its row says.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use super::lossless::{DOCUMENTS, TEXTS};
use super::*;

/// Recorded events, those with bodies and those without, long and short.
static RECORDED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let log = std::fs::read_to_string(RECORDED_LOG).unwrap();
    log.lines().step_by(7).map(str::to_owned).collect()
});

/// Pieces of JSON that change what an event says, or break it.
const SPLICES: &[&str] = &[
    "",
    "\"",
    "\\",
    "\\\\",
    "\\\"",
    "\\u0041",
    "\\ud83d\\ude00",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "null",
    "true",
    "0",
    "1e3",
    "-1.5",
    "1e999",
    "\"x\"",
    "{}",
    "[]",
    "[\"x\"]",
    "é",
    "\u{1}",
    "\"verb\":\"spliced\",",
    "\"user\":{\"username\":\"spliced\"},",
    "\"requestObject\":[1.],",
];

/// The value at a path, empty and null being absent.
fn at<'v>(event: &'v Value, path: &[&str]) -> Option<&'v Value> {
    let found = path.iter().try_fold(event, |value, key| value.get(*key));
    found.filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// Whether an object names a member twice: the parser keeps the last, a row the first.
fn repeats(value: &str) -> bool {
    struct Seen(bool);
    impl<'de> serde::Deserialize<'de> for Seen {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Visitor)
        }
    }
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Seen;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
            let (mut names, mut twice) = (BTreeSet::new(), false);
            while let Some((name, value)) = map.next_entry::<String, Seen>()? {
                twice |= !names.insert(name) | value.0;
            }
            Ok(Seen(twice))
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
            let mut twice = false;
            while let Some(value) = list.next_element::<Seen>()? {
                twice |= value.0;
            }
            Ok(Seen(twice))
        }
        fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
            Ok(Seen(false))
        }
        fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
            Ok(Seen(false))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
            Ok(Seen(false))
        }
        fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
            Ok(Seen(false))
        }
        fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
            Ok(Seen(false))
        }
        fn visit_unit<E>(self) -> Result<Seen, E> {
            Ok(Seen(false))
        }
    }
    serde_json::from_str::<Seen>(value).is_ok_and(|seen| seen.0)
}

/// Compares a row with the parser's reading; true when there was something to compare.
fn agrees(text: &str) -> bool {
    let (batch, quarantined) = decode(text.as_bytes());
    let Ok(event) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    let is_event = at(&event, &["auditID"]).is_some_and(Value::is_string);
    if !is_event || repeats(text) {
        return false;
    }
    if batch.num_rows() == 0 {
        assert_eq!(quarantined[0].reason, Reason::WrongType, "{text}");
        return false;
    }
    assert_eq!((batch.num_rows(), &quarantined[..]), (1, &[][..]), "{text}");
    for (column, path) in TEXTS {
        let found = texts(&batch, column).remove(0);
        let said = at(&event, path);
        let expected = match column {
            "event_time" | "request_time" => continue,
            "response_code" => said.and_then(Value::as_i64).map(|code| code.to_string()),
            _ => said.and_then(Value::as_str).map(str::to_owned),
        };
        assert_eq!(found, expected, "{column} of {text}");
    }
    for (column, path) in DOCUMENTS {
        let found = texts(&batch, column).remove(0);
        let found = found.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        let expected = path.iter().try_fold(&event, |value, key| value.get(*key));
        assert_eq!(found.as_ref(), expected.filter(|v| !v.is_null()), "{column} of {text}");
    }
    true
}

#[test]
fn recorded_events_agree() {
    assert!(RECORDED.iter().all(|event| agrees(event)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn changed_events_agree(
        event in any::<prop::sample::Index>(),
        splices in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(SPLICES)), 1..4),
    ) {
        let mut text = event.get(&RECORDED).clone();
        for (place, len, splice) in splices {
            // Places next to structure are where it matters.
            let edges: Vec<usize> = text.match_indices(['"', ':', ',', '{', '}', '[', ']', '\\'])
                .map(|(at, _)| at).collect();
            let start = *place.get(&edges);
            let end = (start..=text.len()).skip(len).find(|end| text.is_char_boundary(*end));
            let end = if len % 3 == 0 { start } else { end.unwrap_or(text.len()) };
            text.replace_range(start..end, splice);
            if text.find(['"', ':', '{', '[']).is_none() {
                break;
            }
        }
        agrees(&text);
    }
}
