//! One event: what a general parser reads of it is what the row says.
#![no_main]

use auditmill_fuzz::decode::Format;
use auditmill_fuzz::{decode, text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const TEXTS: [(&str, &str); 16] = [
    ("audit_id", "/auditID"),
    ("level", "/level"),
    ("stage", "/stage"),
    ("verb", "/verb"),
    ("request_uri", "/requestURI"),
    ("user_agent", "/userAgent"),
    ("user_name", "/user/username"),
    ("user_uid", "/user/uid"),
    ("impersonated_user", "/impersonatedUser/username"),
    ("resource", "/objectRef/resource"),
    ("namespace", "/objectRef/namespace"),
    ("name", "/objectRef/name"),
    ("subresource", "/objectRef/subresource"),
    ("api_group", "/objectRef/apiGroup"),
    ("response_message", "/responseStatus/message"),
    ("decision", "/annotations/authorization.k8s.io~1decision"),
];
const DOCUMENTS: [(&str, &str); 5] = [
    ("request_object", "/requestObject"),
    ("response_object", "/responseObject"),
    ("user_groups", "/user/groups"),
    ("source_ips", "/sourceIPs"),
    ("annotations", "/annotations"),
];

fuzz_target!(|input: &[u8]| {
    if input.contains(&b'\n') {
        return;
    }
    let (batch, quarantined, _) = decode(input, Format::Lines);
    let Some(Value::Object(event)) = serde_json::from_slice::<Value>(input).ok() else { return };
    let is_event = event.get("auditID").and_then(Value::as_str).is_some_and(|id| !id.is_empty());
    let has_list = event.contains_key("items");
    if !is_event || has_list {
        return;
    }
    let repeats = repeats(input);
    if batch.num_rows() == 0 {
        assert!(repeats || matches!(quarantined[0].reason.as_str(), "wrong_type" | "too_deep"));
        return;
    }
    assert_eq!((batch.num_rows(), quarantined.len()), (1, 0), "sound JSON leaves no piece");
    // Of members that come twice the parser keeps the last, and we the first.
    if repeats {
        return;
    }
    let event = Value::Object(event);
    for (column, path) in TEXTS {
        let expected = event.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        assert_eq!(text(&batch, column, 0).as_deref(), expected, "{column}");
    }
    for (column, path) in DOCUMENTS {
        let expected = event.pointer(path).filter(|value| !value.is_null());
        let found = text(&batch, column, 0).map(|text| serde_json::from_str(&text).expect("JSON"));
        assert_eq!(found.as_ref(), expected, "{column}");
    }
});

/// Whether some object has two members of one name: then the parser's value is shorter than the
/// text's members. Counted by colons outside of texts.
fn repeats(input: &[u8]) -> bool {
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
            Value::Array(list) => list.iter().map(members).sum(),
            _ => 0,
        }
    }
    let (mut colons, mut is_text, mut is_escaped) = (0, false, false);
    for byte in input {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b':' if !is_text => colons += 1,
            _ => {}
        }
    }
    serde_json::from_slice::<Value>(input).is_ok_and(|value| members(&value) != colons)
}
