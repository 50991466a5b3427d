//! An event can be put together again from its row.

use serde_json::{Map, Value, json};

use super::*;

/// Columns that hold a text field, by its path in the event.
pub(super) const TEXTS: [(&str, &[&str]); 21] = [
    ("level", &["level"]),
    ("audit_id", &["auditID"]),
    ("stage", &["stage"]),
    ("request_uri", &["requestURI"]),
    ("verb", &["verb"]),
    ("user_name", &["user", "username"]),
    ("user_uid", &["user", "uid"]),
    ("impersonated_user", &["impersonatedUser", "username"]),
    ("user_agent", &["userAgent"]),
    ("resource", &["objectRef", "resource"]),
    ("namespace", &["objectRef", "namespace"]),
    ("name", &["objectRef", "name"]),
    ("object_uid", &["objectRef", "uid"]),
    ("api_group", &["objectRef", "apiGroup"]),
    ("api_version", &["objectRef", "apiVersion"]),
    ("subresource", &["objectRef", "subresource"]),
    ("response_reason", &["responseStatus", "reason"]),
    ("response_message", &["responseStatus", "message"]),
    ("event_time", &["stageTimestamp"]),
    ("request_time", &["requestReceivedTimestamp"]),
    ("response_code", &["responseStatus", "code"]),
];

/// Columns that hold JSON, by its path in the event.
pub(super) const DOCUMENTS: [(&str, &[&str]); 7] = [
    ("user_groups", &["user", "groups"]),
    ("user_extra", &["user", "extra"]),
    ("impersonated_groups", &["impersonatedUser", "groups"]),
    ("source_ips", &["sourceIPs"]),
    ("annotations", &["annotations"]),
    ("request_object", &["requestObject"]),
    ("response_object", &["responseObject"]),
];

fn put(event: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => merge(event, value),
        [key, rest @ ..] => {
            let members = event.as_object_mut().expect("paths lead through objects");
            put(members.entry(*key).or_insert_with(|| json!({})), rest, value);
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert_with(|| json!({})), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The event of each row, put together from its columns.
fn events(batch: &RecordBatch) -> Vec<Value> {
    let mut events: Vec<_> = (0..batch.num_rows())
        .map(|_| json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1"}))
        .collect();
    for (column, path) in TEXTS {
        for (event, text) in events.iter_mut().zip(texts(batch, column)) {
            let Some(text) = text else { continue };
            let value = match column {
                "response_code" => json!(text.parse::<i32>().unwrap()),
                "event_time" | "request_time" => {
                    json!(format!("{:.6}", text.parse::<jiff::Timestamp>().unwrap()))
                }
                _ => json!(text),
            };
            put(event, path, value);
        }
    }
    for (column, path) in DOCUMENTS {
        for (event, text) in events.iter_mut().zip(texts(batch, column)) {
            let Some(text) = text else { continue };
            put(event, path, serde_json::from_str(&text).unwrap());
        }
    }
    for (event, text) in events.iter_mut().zip(texts(batch, "other")) {
        let other = text.map_or(json!({}), |text| serde_json::from_str(&text).unwrap());
        merge(event, other);
    }
    events
}

fn check_lossless(lines: &str) {
    let (batch, quarantined) = decode(lines.as_bytes());
    assert_eq!(quarantined, []);
    let originals: Vec<Value> = serde_json::Deserializer::from_str(lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("recorded lines are JSON");
    let rebuilt = events(&batch);
    assert_eq!(rebuilt.len(), originals.len());
    for (rebuilt, original) in rebuilt.iter().zip(&originals) {
        assert_eq!(rebuilt, original);
    }
}

#[test]
fn recorded_events_come_back_from_their_rows() {
    let lines = std::fs::read_to_string(RECORDED_LOG).unwrap();
    assert_eq!(lines.lines().count(), 2_508);
    check_lossless(&lines);
}

#[test]
fn unknown_members_come_back_too() {
    check_lossless(
        r#"{"kind":"Audit","apiVersion":"audit.k8s.io/v1beta1","metadata":{"a":null},"auditID":"a",
        "user":{},"objectRef":{"resourceVersion":"1","name":"n"},"impersonatedUser":{"uid":"u",
        "extra":{"k":["v"]}},"responseStatus":{"metadata":{},"details":{"causes":[{"reason":"r"}]}},
        "stageTimestamp":"2026-01-01T00:00:00.000000Z","sourceIPs":[],"requestObject":[null,1.5],
        "annotations":{},"timestamp":"2018-10-26T14:26:34Z","authenticationMetadata":{}}"#,
    );
}

#[test]
fn the_comparison_can_fail() {
    let (batch, _) = decode(br#"{"auditID":"a","objectRef":{"resourceVersion":"1"}}"#);
    let mut without_other = Map::new();
    without_other.insert("auditID".into(), json!("a"));
    assert_ne!(events(&batch), [Value::Object(without_other)]);
}
