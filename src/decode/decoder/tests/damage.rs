//! Bodies that are broken, and what is saved of them.

use Reason::{MalformedJson, NotAnEvent, TooDeep, WrongType};

use super::*;

#[test]
fn wrong_types_refuse_one_event() {
    for (member, path) in [
        (r#""verb":5"#, "verb"),
        (r#""level":{}"#, "level"),
        (r#""user":"x""#, "user"),
        (r#""user":{"username":["x"]}"#, "user.username"),
        (r#""user":{"groups":["a",5]}"#, "user.groups"),
        (r#""user":{"extra":{"a":"b"}}"#, "user.extra"),
        (r#""impersonatedUser":{"groups":{}}"#, "impersonatedUser.groups"),
        (r#""sourceIPs":"10.0.0.1""#, "sourceIPs"),
        (r#""sourceIPs":[null]"#, "sourceIPs"),
        (r#""objectRef":[]"#, "objectRef"),
        (r#""objectRef":{"name":1}"#, "objectRef.name"),
        (r#""responseStatus":{"code":"403"}"#, "responseStatus.code"),
        (r#""responseStatus":{"code":4.5}"#, "responseStatus.code"),
        (r#""responseStatus":{"code":4294967296}"#, "responseStatus.code"),
        (r#""annotations":{"a":1}"#, "annotations"),
        (r#""annotations":[]"#, "annotations"),
        (r#""stageTimestamp":"yesterday""#, "stageTimestamp"),
        (r#""stageTimestamp":17"#, "stageTimestamp"),
        (r#""requestReceivedTimestamp":"2026-02-30T00:00:00Z""#, "requestReceivedTimestamp"),
        (r#""requestReceivedTimestamp":"99999-01-01T00:00:00Z""#, "requestReceivedTimestamp"),
    ] {
        let broken = format!(r#"{{"auditID":"x",{member}}}"#);
        let body = list(&[event("a"), broken.clone(), event("b")]);
        check(&body, &["a", "b"], &[(WrongType, &broken)]);
        let detail = decode(body.as_bytes()).1.remove(0).detail;
        assert!(detail.contains(&format!("`{path}`")), "{detail}");
    }
}

#[test]
fn a_malformed_event_with_a_sound_extent_costs_only_itself() {
    for broken in [
        r#"{"auditID":"x","verb":01}"#,
        r#"{"auditID":"x","verb":"\x"}"#,
        r#"{"auditID":"x","requestObject":1.}"#,
        r#"{"auditID":"x","requestObject":"\u12"}"#,
        r#"{"auditID":"x","user":{"username":"\ud800"}}"#,
        "{\"auditID\":\"x\",\"verb\":\"\0\"}",
        "{\"auditID\":\"x\",\"requestObject\":\"\u{1}\"}",
        r#"{"auditID":"x","new":1e999}"#,
    ] {
        let items = [event("a"), broken.to_owned(), event("b")];
        check(list(&items), &["a", "b"], &[(MalformedJson, broken)]);
        check(items.join("\n"), &["a", "b"], &[(MalformedJson, broken)]);
    }
}

#[test]
fn text_that_is_not_utf_8_costs_one_event() {
    let body = list(&[event("a"), event("x"), event("b")]).replace('x', "\u{1}").into_bytes();
    let body: Vec<u8> = body.into_iter().map(|b| if b == 1 { 0xFF } else { b }).collect();
    let (batch, quarantined) = decode(&body);
    assert_eq!(texts(&batch, "audit_id").len(), 2);
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].reason, MalformedJson);
    assert!(quarantined[0].bytes.contains(&0xFF) && quarantined[0].detail.contains("UTF-8"));
    let latin: Vec<u8> = "{\"auditID\":\"é\"}".chars().map(|c| c as u8).collect();
    assert_eq!(decode(&latin).1[0].bytes, latin);
}

#[test]
fn bodies_of_requests_may_hold_what_the_parser_does_not_take() {
    for value in ["1e999", "123456789012345678901234567890", r#"{"a":["\ud800",-0.0]}"#] {
        let event = format!(
            r#"{{"auditID":"a","requestObject":{value},"verb":"patch","responseObject":{value}}}"#
        );
        check(&event, &["a"], &[]);
        let (batch, _) = decode(event.as_bytes());
        for column in ["request_object", "response_object"] {
            assert_eq!(texts(&batch, column), [Some(value.to_owned())]);
        }
        assert_eq!(texts(&batch, "verb"), [Some("patch".to_owned())]);
    }
}

#[test]
fn broken_structure_in_a_list_costs_up_to_the_next_event() {
    let (a, b) = (event("a"), event("b"));
    for broken in [
        r#"{"auditID":"x"#,
        r#"{"auditID":"x","verb":{"#,
        r#"{"auditID":"x","verb":["#,
        r#"{"auditID":x}"#,
        r#"{"auditID":"x" "verb"}"#,
        r#"{"auditID":"x]"#,
        r"{auditID}",
        "#",
        "12a",
        "\0\0",
    ] {
        let body = list(&[a.clone(), broken.to_owned(), b.clone()]);
        check(&body, &["a", "b"], &[(MalformedJson, &format!("{broken},"))]);
    }
    let closed_early = list(&[a.clone(), format!("{b}]"), a.clone()]);
    check(closed_early, &["a", "b", "a"], &[]);
    let closed_twice = list(&[a.clone(), format!("{b}}}"), a.clone()]);
    check(closed_twice, &["a", "b", "a"], &[(MalformedJson, "},")]);
}

#[test]
fn a_broken_head_of_a_list_costs_the_head() {
    let body = list(&[event("a"), event("b")]).replace(r#""metadata":{}"#, r#""metadata":{"#);
    let head = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{,"items":["#;
    check(&body, &["a", "b"], &[(MalformedJson, head)]);
    check(format!("{body}\n{}", list(&[event("c")])), &["a", "b", "c"], &[(MalformedJson, head)]);
}

#[test]
fn a_broken_line_costs_the_line() {
    let (a, b) = (event("a"), event("b"));
    for broken in [
        r#"{"auditID":"x"#,
        r#"{"auditID":"x","verb":{"#,
        r#"{"auditID":"x","verb":["#,
        "I1121 07:45:52 not an event",
        "12a",
        "]",
        "}",
        "\u{0}",
    ] {
        let body = format!("{a}\n{broken}\n{b}");
        check(&body, &["a", "b"], &[(MalformedJson, &format!("{broken}\n"))]);
    }
    check("no events here", &[], &[(MalformedJson, "no events here")]);
    let item = list(&[a.clone(), "{".into()]);
    check(format!("{}\n{b}", item.trim_end_matches("]}")), &["a", "b"], &[(MalformedJson, "{\n")]);
}

#[test]
fn a_body_cut_anywhere_keeps_what_precedes() {
    let items: Vec<_> = (0..3).map(|n| event(&n.to_string())).collect();
    for body in [list(&items), items.join("\n"), format!("[{}]", items.join(","))] {
        let ends: Vec<_> = items.iter().map(|i| body.find(i.as_str()).unwrap() + i.len()).collect();
        let is_stream = body.starts_with(&items[0]);
        for cut in 1..body.len() {
            let (batch, quarantined) = decode(&body.as_bytes()[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(batch.num_rows(), whole, "{}", &body[..cut]);
            let at_edge = is_stream && (ends.contains(&cut) || ends.contains(&(cut - 1)));
            assert_eq!(quarantined.len(), usize::from(!at_edge), "{}", &body[..cut]);
            if let Some(tail) = quarantined.first() {
                assert_eq!(tail.offset + tail.bytes.len(), cut);
                assert_eq!(tail.reason, MalformedJson);
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_costs_no_neighbour() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"auditID":"deep","requestObject":{open}{close}}}"#)
    };
    check(nested(999), &["deep"], &[]);
    for levels in [1_000, 100_000] {
        let deep = nested(levels);
        check(list(&[event("a"), deep.clone(), event("b")]), &["a", "b"], &[(TooDeep, &deep)]);
    }
    let open = "{\"a\":[".repeat(100_000);
    check(&open, &[], &[(MalformedJson, &open)]);
}

#[test]
fn a_huge_text_is_a_row() {
    let huge = "x\\n".repeat(5_000_000);
    let event = format!(r#"{{"auditID":"a","responseObject":"{huge}"}}"#);
    let (batch, quarantined) = decode(event.as_bytes());
    assert_eq!(quarantined, []);
    assert_eq!(texts(&batch, "response_object"), [Some(format!("\"{huge}\""))]);
}

#[test]
fn hostile_repetition_takes_bounded_time_and_pieces() {
    for unit in ["{\"level\":\"x", "{\"a\":[\n", "{}\n", "[", "{\"kind\":\"EventList\"\n", "\n{"] {
        let body = unit.repeat(100_000);
        let (_, quarantined) = decode(body.as_bytes());
        let kept: usize = quarantined.iter().map(|q| q.bytes.len()).sum();
        assert!(kept <= body.len() && kept + 100_000 >= body.len() - 1, "{unit}: {kept}");
        assert!(quarantined.len() <= 1_001, "{unit}: {}", quarantined.len());
    }
    let mixed = format!("{}{}\n", "{}\n".repeat(2_000), event("a")).repeat(2);
    let (batch, quarantined) = decode(mixed.as_bytes());
    assert_eq!((batch.num_rows(), quarantined.len()), (2, 1_001));
    assert!(quarantined.iter().all(|q| q.reason == NotAnEvent));
}

#[test]
fn pieces_carry_where_they_came_from() {
    let body = format!("{}\n{{\"verb\":1}}", event("a"));
    let (_, quarantined) = decode(body.as_bytes());
    let expected = Quarantined {
        cluster: "east".into(),
        source: "webhook".into(),
        received_at: RECEIVED_AT,
        reason: NotAnEvent,
        detail: "no `auditID`".into(),
        offset: event("a").len() + 1,
        bytes: br#"{"verb":1}"#.to_vec(),
    };
    assert_eq!(quarantined, [expected]);
}
