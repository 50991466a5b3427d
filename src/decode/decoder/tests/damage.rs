//! Bodies that are broken, and what is saved of them.

use Reason::{MalformedBody, MalformedJson, NotAnEvent, TooDeep, WrongType};

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
        r#"{"auditID":"x","new":1.}"#,
        r#"{"auditID":"x","new":{"a":["\u12"]}}"#,
        r#"{"auditID":"x","sourceIPs":["\ud800"]}"#,
        r#"{"auditID":"x","user":{"username":"\ud800"}}"#,
        "{\"auditID\":\"x\",\"verb\":\"\0\"}",
        "{\"auditID\":\"x\",\"new\":\"\u{1}\"}",
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

/// An event between two others has a row, its bodies are as expected, and so are the pieces.
fn check_body(value: &[u8], column: &str, pieces: &[Reason]) {
    for shape in [
        "{\"auditID\":\"x\",\"requestObject\":@,\"verb\":\"patch\"}",
        "{\"responseObject\": @ ,\"verb\":\"patch\",\
         \"user\":{\"username\":\"u\\u0041\"},\"auditID\":\"x\"}",
    ] {
        let (before, after) = shape.split_once('@').unwrap();
        let hostile = [before.as_bytes(), value, after.as_bytes()].concat();
        let items = [event("a").into_bytes(), hostile.clone(), event("b").into_bytes()];
        let list = [b"{\"items\":[", &items.join(&b","[..])[..], b"]}"].concat();
        for body in [list, items.join(&b"\n"[..])] {
            let (batch, quarantined) = decode(&body);
            let found: Vec<_> = texts(&batch, "audit_id").into_iter().flatten().collect();
            assert_eq!(found, ["a", "x", "b"]);
            let name =
                if shape.contains("requestObject") { "request_object" } else { "response_object" };
            assert_eq!(texts(&batch, name), [None, Some(column.to_owned()), None]);
            assert_eq!(texts(&batch, "verb")[1].as_deref(), Some("patch"));
            let reasons: Vec<_> = quarantined.iter().map(|piece| piece.reason).collect();
            assert_eq!(reasons, pieces);
            assert!(quarantined.iter().all(|piece| piece.bytes == hostile), "the whole event");
        }
    }
}

#[test]
fn no_body_hides_its_event() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for sound in [
        "1e999",
        "123456789012345678901234567890",
        r#"{"a":["\ud800",-0.0]}"#,
        r#"{"auditID":"y","auditID":{},"verb":5}"#,
        &deep,
        "\"\u{7f}é\"",
    ] {
        check_body(sound.as_bytes(), sound, &[]);
    }
    for broken in ["1.", "01", r#""\u12""#, r#"{"\x":[]}"#, "[\"\u{1}\",1]", "\"\0\""] {
        check_body(broken.as_bytes(), broken, &[MalformedBody]);
    }
    for (bytes, text) in [
        (&b"\"\xFF\""[..], "\"\u{fffd}\""),
        (b"{\"a\xC3\":[\"\xED\xA0\x80\"]}", "{\"a\u{fffd}\":[\"\u{fffd}\u{fffd}\u{fffd}\"]}"),
    ] {
        check_body(bytes, text, &[MalformedBody]);
    }
}

#[test]
fn bodies_that_look_alike_once_mended_are_different_events() {
    let of = |byte: u8| [b"{\"auditID\":\"a\",\"requestObject\":\"", &[byte][..], b"\"}"].concat();
    let id = |body: &[u8]| texts(&decode(body).0, "event_id");
    assert_eq!(id(&of(0xFE)), id(&of(0xFE)));
    assert_ne!(id(&of(0xFE)), id(&of(0xFF)));
    assert_ne!(id(&of(0xFE)), id("{\"auditID\":\"a\",\"requestObject\":\"\u{fffd}\"}".as_bytes()));
}

#[test]
fn a_broken_body_does_not_excuse_the_rest_of_its_event() {
    let broken = b"{\"auditID\":\"x\",\"requestObject\":\"\xFF\",\"verb\":\"\xFF\"}";
    let (batch, quarantined) = decode(broken);
    assert_eq!((batch.num_rows(), quarantined[0].reason), (0, MalformedJson));
    check(
        r#"{"auditID":"x","requestObject":1.,"verb":5}"#,
        &[],
        &[(WrongType, r#"{"auditID":"x","requestObject":1.,"verb":5}"#)],
    );
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
        "{auditID}",
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
        format!(r#"{{"auditID":"deep","new":{open}{close}}}"#)
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
