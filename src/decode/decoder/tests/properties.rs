//! What holds for any bytes.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// What makes bytes look like a body.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\n",
    b" ",
    b"1",
    b"null",
    b"\"a\":",
    b"\xFF",
    b"\0",
    b"\"auditID\":\"a\"",
    b"{\"auditID\":\"a\"}",
    b"\"verb\":5",
    b"\"items\":[",
    b"\"kind\":\"EventList\"",
    b"{\"level\":\"",
    b"\n{",
];

/// Bytes that look like JSON often enough to reach every branch.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(TOKENS);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// The places of the bytes that are in no piece and in no event (here: no event has rows).
fn unaccounted(body: &[u8], quarantined: &[Quarantined]) -> Vec<u8> {
    let mut at = 0;
    let mut left = Vec::new();
    for piece in quarantined {
        assert!(piece.offset >= at, "pieces overlap");
        left.extend_from_slice(&body[at..piece.offset]);
        at = piece.offset + piece.bytes.len();
    }
    left.extend_from_slice(&body[at..]);
    left
}

/// An event whose texts hold what is special to the scanner.
fn any_event() -> impl Strategy<Value = String> {
    let text = r#"[a-z{}\[\]:,"\\/é]{0,12}"#;
    (text, text, "[a-z0-9-]{1,12}").prop_map(|(uri, body, id)| {
        let (uri, body) = (serde_json::json!(uri), serde_json::json!({ "a": [body] }));
        format!(
            r#"{{"level":"Request","auditID":"{id}","requestURI":{uri},"requestObject":{body}}}"#
        )
    })
}

fn ids(batch: &RecordBatch) -> Vec<String> {
    texts(batch, "event_id").into_iter().flatten().collect()
}

/// The list's text and the places of its items.
fn list_with_places(items: &[String]) -> (String, Vec<Range<usize>>) {
    let body = list(items);
    let mut at = body.find(r#""items":["#).unwrap() + r#""items":["#.len();
    let places = items
        .iter()
        .map(|item| {
            let place = at..at + item.len();
            at = place.end + 1;
            place
        })
        .collect();
    (body, places)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_decode(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let (batch, quarantined) = decode(&body);
        prop_assert_eq!(batch.num_rows(), 0);
        let left = unaccounted(&body, &quarantined);
        prop_assert!(left.iter().all(|b| b" \t\r\n[],\xEF\xBB\xBF".contains(b)), "{:?}", left);
    }

    #[test]
    fn nearly_json_decodes_and_is_accounted_for(body in nearly_json()) {
        let (batch, quarantined) = decode(&body);
        let left = unaccounted(&body, &quarantined);
        // What is neither event nor piece is envelope; without rows and lists there is none.
        if batch.num_rows() == 0 && !body.windows(7).any(|w| w == b"\"items\"")
            && !body.windows(6).any(|w| w == b"\"kind\"")
        {
            prop_assert!(left.iter().all(|b| b" \n[],".contains(b)), "{:?}", left);
        }
        if batch.num_rows() > 0 {
            let found = left.windows(9).filter(|w| w == b"\"auditID\"").count();
            prop_assert!(found >= batch.num_rows());
        }
    }

    #[test]
    fn a_damaged_item_leaves_the_others(
        items in prop::collection::vec(any_event(), 2..6),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        which in any::<prop::sample::Index>(),
    ) {
        let (body, places) = list_with_places(&items);
        let whole = ids(&decode(body.as_bytes()).0);
        let which = which.index(items.len());
        // Only bytes inside a string, so that the extents stay sound.
        let text = places[which].start + items[which].find("\"auditID\":\"").unwrap() + 11;
        let at = text + at.index(items[which][text - places[which].start..].find('"').unwrap());
        prop_assume!(!matches!(byte, b'"' | b'\\' | b'\n'));
        let mut body = body.into_bytes();
        body[at] = byte;
        let (batch, quarantined) = decode(&body);
        prop_assert_eq!(batch.num_rows() + quarantined.len(), items.len());
        let found: BTreeSet<_> = ids(&batch).into_iter().collect();
        for (index, id) in whole.iter().enumerate() {
            prop_assert!(index == which || found.contains(id));
        }
    }

    #[test]
    fn any_splice_keeps_the_events_before_it(
        items in prop::collection::vec(any_event(), 1..6),
        cut in any::<prop::sample::Index>(),
        len in 0..20_usize,
        splice in prop_oneof![nearly_json(), prop::collection::vec(any::<u8>(), 0..20)],
    ) {
        let (body, places) = list_with_places(&items);
        let start = cut.index(body.len());
        let end = (start + len).min(body.len());
        let whole = ids(&decode(body.as_bytes()).0);
        let mut spliced = body.into_bytes();
        spliced.splice(start..end, splice);
        let (batch, _) = decode(&spliced);
        let before = places.iter().filter(|place| place.end <= start).count();
        let found = ids(&batch);
        let shown = String::from_utf8_lossy(&spliced);
        prop_assert!(found.starts_with(&whole[..before]), "{}", shown);
    }

    #[test]
    fn the_batching_does_not_matter(
        items in prop::collection::vec(any_event(), 0..8),
        size in 1..4_usize,
    ) {
        let together = decode(list(&items).as_bytes()).0;
        let mut rows = Rows::new();
        let mut decoder = Decoder::new();
        for part in items.chunks(size) {
            let body = list(part);
            decoder.decode(&delivery(body.as_bytes()), &mut rows, &mut Vec::new());
        }
        prop_assert_eq!(rows.finish(), together.clone());
        prop_assert_eq!(decode(items.join("\n").as_bytes()).0, together);
    }
}
