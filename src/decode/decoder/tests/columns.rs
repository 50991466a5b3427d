//! Fields of an event to columns.

use super::*;

/// An event that says something for every column.
const FULL: &str = r#"{
    "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
    "auditID": "a-1", "stage": "ResponseComplete", "requestURI": "/apis/x?a=1\u0026b=2",
    "verb": "create",
    "user": {"username": "ops", "uid": "u-1", "groups": ["dev", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1", "JTI=2"],
                  "authentication.kubernetes.io/pod-name": ["web-0"],
                  "authentication.kubernetes.io/node-name": ["node-1"], "scopes": []}},
    "impersonatedUser": {"username": "root", "groups": ["system:masters"], "uid": "i-1"},
    "authenticationMetadata": {"impersonationConstraint": "c"},
    "sourceIPs": ["203.0.113.9", "10.0.0.1"], "userAgent": "kubectl/v1.36",
    "objectRef": {"resource": "deployments", "namespace": "shop", "name": "web", "uid": "o-1",
        "apiGroup": "apps", "apiVersion": "v1", "resourceVersion": "12", "subresource": "scale"},
    "responseStatus": {"metadata": {}, "status": "Failure", "message": "say \"no\"",
        "reason": "Forbidden", "code": 403},
    "requestObject": {"b": [1, "\u00e9"]}, "responseObject": {"c": null},
    "requestReceivedTimestamp": "2026-01-01T00:00:01.000002Z",
    "stageTimestamp": "2026-01-01T00:00:03.000004Z",
    "annotations": {"authorization.k8s.io/decision": "forbid",
        "authorization.k8s.io/reason": "no \u003crule\u003e", "audit.k8s.io/truncated": "true"}
}"#;

/// Decodes one event and compares one column, written as text.
fn check_column(event: &str, column: &str, expected: Option<&str>) {
    let (batch, quarantined) = decode(event.as_bytes());
    assert_eq!(quarantined, [], "{event}");
    assert_eq!(texts(&batch, column), [expected.map(str::to_owned)], "{column} of {event}");
}

#[test]
fn every_column_of_a_full_event() {
    let other = concat!(
        r#"{"impersonatedUser":{"uid":"i-1"},"#,
        r#""authenticationMetadata":{"impersonationConstraint": "c"},"#,
        r#""objectRef":{"resourceVersion":"12"},"#,
        r#""responseStatus":{"metadata":{},"status":"Failure"}}"#,
    );
    let extra = r#"{"authentication.kubernetes.io/credential-id": ["JTI=1", "JTI=2"],
                  "authentication.kubernetes.io/pod-name": ["web-0"],
                  "authentication.kubernetes.io/node-name": ["node-1"], "scopes": []}"#;
    let annotations = r#"{"authorization.k8s.io/decision": "forbid",
        "authorization.k8s.io/reason": "no \u003crule\u003e", "audit.k8s.io/truncated": "true"}"#;
    let expected = [
        ("cluster", "east"),
        ("event_time", "2026-01-01T00:00:03.000004Z"),
        ("request_time", "2026-01-01T00:00:01.000002Z"),
        ("ingest_time", "2023-11-14T22:13:20Z"),
        ("audit_id", "a-1"),
        ("stage", "ResponseComplete"),
        ("level", "RequestResponse"),
        ("verb", "create"),
        ("request_uri", "/apis/x?a=1&b=2"),
        ("user_name", "ops"),
        ("user_uid", "u-1"),
        ("user_groups", r#"["dev", "system:authenticated"]"#),
        ("user_extra", extra),
        ("impersonated_user", "root"),
        ("impersonated_groups", r#"["system:masters"]"#),
        ("source_ips", r#"["203.0.113.9", "10.0.0.1"]"#),
        ("source_ip", "10.0.0.1"),
        ("user_agent", "kubectl/v1.36"),
        ("api_group", "apps"),
        ("api_version", "v1"),
        ("resource", "deployments"),
        ("subresource", "scale"),
        ("namespace", "shop"),
        ("name", "web"),
        ("object_uid", "o-1"),
        ("response_code", "403"),
        ("response_reason", "Forbidden"),
        ("response_message", r#"say "no""#),
        ("decision", "forbid"),
        ("decision_reason", "no <rule>"),
        ("annotations", annotations),
        ("request_object", r#"{"b": [1, "\u00e9"]}"#),
        ("response_object", r#"{"c": null}"#),
        ("credential_id", "JTI=1"),
        ("pod_name", "web-0"),
        ("node_name", "node-1"),
        ("truncated", "true"),
        ("source", "webhook"),
        ("other", other),
        ("conflict", "false"),
    ];
    for (column, value) in expected {
        check_column(FULL, column, Some(value));
    }
    let (batch, _) = decode(FULL.as_bytes());
    assert_eq!(expected.len() + 1, batch.num_columns(), "all but event_id");
    let id = texts(&batch, "event_id").remove(0).unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
}

#[test]
fn nothing_said_is_null() {
    let (batch, _) = decode(br#"{"auditID":"a"}"#);
    let present: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(_, column)| column.null_count() == 0)
        .map(|(field, _)| field.name().clone())
        .collect();
    let expected = "cluster event_id event_time ingest_time audit_id truncated source conflict";
    assert_eq!(present.join(" "), expected);
    assert_eq!(texts(&batch, "truncated"), [Some("false".to_owned())]);
}

#[test]
fn null_and_empty_are_absent() {
    for (member, column) in [
        (r#""verb":"""#, "verb"),
        (r#""verb":null"#, "verb"),
        (r#""user":{"username":""}"#, "user_name"),
        (r#""user":null"#, "user_name"),
        (r#""user":{"groups":null}"#, "user_groups"),
        (r#""user":{"extra":null}"#, "user_extra"),
        (r#""user":{"extra":{"authentication.kubernetes.io/pod-name":null}}"#, "pod_name"),
        (r#""sourceIPs":[]"#, "source_ip"),
        (r#""sourceIPs":[""]"#, "source_ip"),
        (r#""requestObject":null"#, "request_object"),
        (r#""annotations":{"authorization.k8s.io/reason":""}"#, "decision_reason"),
        (r#""responseStatus":{"code":null}"#, "response_code"),
        (r#""requestReceivedTimestamp":null"#, "request_time"),
        (r#""requestReceivedTimestamp":"0001-01-01T00:00:00Z""#, "request_time"),
        (r#""kind":"Event""#, "other"),
    ] {
        check_column(&format!(r#"{{"auditID":"a",{member}}}"#), column, None);
    }
}

#[test]
fn what_has_no_column_is_in_other() {
    for (member, other) in [
        (r#""kind":"Incident""#, r#"{"kind":"Incident"}"#),
        (r#""apiVersion":"audit.k8s.io/v1beta1""#, r#"{"apiVersion":"audit.k8s.io/v1beta1"}"#),
        (r#""new" : [ 1, 2 ] "#, r#"{"new":[ 1, 2 ]}"#),
        (r#""user":{"new":1,"more":2}"#, r#"{"user":{"new":1,"more":2}}"#),
        (r#""user":{}"#, r#"{"user":{}}"#),
        (r#""verb":"a","verb":"b""#, r#"{"verb":"b"}"#),
        (r#""user":{"uid":"1"},"user":{"uid":"2"}"#, r#"{"user":{"uid":"2"}}"#),
        (
            r#""stageTimestamp":"2026-01-01T00:00:00.1234567Z""#,
            r#"{"stageTimestamp":"2026-01-01T00:00:00.1234567Z"}"#,
        ),
    ] {
        check_column(&format!(r#"{{"auditID":"a",{member}}}"#), "other", Some(other));
    }
}

#[test]
fn event_time_falls_back() {
    let received = "2023-11-14T22:13:20Z";
    for (members, expected) in [
        (r#""stageTimestamp":null"#, received),
        (r#""stageTimestamp":"0001-01-01T00:00:00Z""#, received),
        (r#""requestReceivedTimestamp":"2026-01-01T00:00:01Z""#, "2026-01-01T00:00:01Z"),
        (
            r#""stageTimestamp":"2026-01-01T02:00:02+02:00","requestReceivedTimestamp":null"#,
            "2026-01-01T00:00:02Z",
        ),
    ] {
        check_column(&format!(r#"{{"auditID":"a",{members}}}"#), "event_time", Some(expected));
    }
}

#[test]
fn the_id_is_the_contents() {
    let id = |cluster: &str, body: &str| {
        let mut rows = Rows::new();
        let delivery = Delivery { cluster, ..delivery(body.as_bytes()) };
        assert_eq!(Decoder::new().decode(&delivery, &mut rows, &mut Vec::new()), 1);
        texts(&rows.finish(), "event_id").remove(0).unwrap()
    };
    let item = id("east", &list(&[event("a")]));
    let line = event("a").replacen('{', r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#, 1);
    assert_eq!(id("east", &line), item);
    assert_eq!(id("east", &event("a").replace(',', " ,\n\t").replace(':', " : ")), item);
    assert_ne!(id("west", &line), item);
    assert_ne!(id("east", &event("b")), item);
    assert_ne!(id("east", &event("a").replace("get", "g\\u0065t")), item);
}

#[test]
fn the_recorded_log_and_body_agree_on_ids() {
    let ids = |path: &str| {
        let (batch, quarantined) = decode(&std::fs::read(path).unwrap());
        assert_eq!(quarantined, []);
        texts(&batch, "event_id")
    };
    let logged: std::collections::BTreeSet<_> = ids(RECORDED_LOG).into_iter().collect();
    let sent = ids(RECORDED_BODY);
    assert_eq!((logged.len(), sent.len()), (2_508, 63));
    assert_eq!(sent.iter().filter(|id| logged.contains(*id)).count(), sent.len());
}
