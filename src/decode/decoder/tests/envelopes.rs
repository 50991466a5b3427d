//! Where events are in sound bodies.

use super::*;

#[test]
fn lists() {
    let (a, b) = (event("a"), event("b"));
    check(list(&[a.clone(), b.clone()]), &["a", "b"], &[]);
    check(list(&[]), &[], &[]);
    check(format!("[{a}, {b}]"), &["a", "b"], &[]);
    check("[]", &[], &[]);
    check(r#"{"kind":"EventList","items":null}"#, &[], &[]);
    check(r#"{"kind":"EventList"}"#, &[], &[]);
    check(format!(r#"{{"items":[{a}],"kind":"EventList","x":[{{}}]}}"#), &["a"], &[]);
    check(format!(r#"{{"kind":"EventList","x":{{"items":[{{}}]}},"items":[{a}]}}"#), &["a"], &[]);
    check(
        format!("{}\n\n{}", list(std::slice::from_ref(&a)), list(std::slice::from_ref(&b))),
        &["a", "b"],
        &[],
    );
}

#[test]
fn streams() {
    let (a, b) = (event("a"), event("b"));
    check("", &[], &[]);
    check(" \r\n\t\n", &[], &[]);
    check(b"\xEF\xBB\xBF", &[], &[]);
    check(format!("\u{feff}{a}\n\r\n{b}\n"), &["a", "b"], &[]);
    check(format!("{a}{b} {a}"), &["a", "b", "a"], &[]);
    check(a.replace(',', ",\n  ").replace('{', "{\n  "), &["a"], &[]);
    check(format!("{a}\n{}\n[{b}]", list(std::slice::from_ref(&b))), &["a", "b", "b"], &[]);
}

#[test]
fn an_event_with_a_member_named_items_is_one_event() {
    check(r#"{"auditID":"a","items":[{"auditID":"b"}]}"#, &["a"], &[]);
    let line = r#"{"kind":"Event","items":[{"auditID":"b"}],"auditID":"a"}"#;
    check(line, &["a"], &[]);
}

#[test]
fn what_is_no_event_is_told() {
    use Reason::NotAnEvent;
    let a = event("a");
    for piece in [
        "{}",
        r#"{"kind":"Pod"}"#,
        r#"{"auditID":""}"#,
        r#"{"auditID":5,"verb":5}"#,
        r#"{"auditID":null}"#,
        r#"{"kind":"PodList","items":[{"auditID":"x"}]}"#,
        r#"{"kind":"EventList","items":{}}"#,
        "12",
        "\"text\"",
        "null",
        "true",
    ] {
        check(format!("{piece}\n{a}"), &["a"], &[(NotAnEvent, piece)]);
        check(list(&[a.clone(), piece.into(), a.clone()]), &["a", "a"], &[(NotAnEvent, piece)]);
    }
    check(list(&[a.clone(), "[1]".into(), a]), &["a", "a"], &[(NotAnEvent, "[1]")]);
}

#[test]
fn a_decoder_is_the_same_after_each_delivery() {
    let mut decoder = Decoder::new();
    let mut rows = Rows::new();
    let mut quarantined = Vec::new();
    let log = std::fs::read(RECORDED_LOG).unwrap();
    let bodies = [&log[..100_000], b"{\"auditID\":\"a\"", list(&[event("a")]).as_bytes()]
        .map(<[u8]>::to_vec);
    for body in bodies.iter().cycle().take(6) {
        quarantined.clear();
        decoder.decode(&delivery(body), &mut rows, &mut quarantined);
        assert_eq!((rows.finish(), quarantined.clone()), decode(body));
    }
}
