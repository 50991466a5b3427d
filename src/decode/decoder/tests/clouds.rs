//! What clouds wrap around events.

use std::str::FromStr as _;

use Reason::{BadPacking, MalformedJson, NotAnEvent, TruncatedEvent};

use super::*;
use crate::decode::Format;

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/envelopes/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

struct Decoded {
    batch: RecordBatch,
    quarantined: Vec<Quarantined>,
    passed_over: usize,
}

fn decode_as(body: &[u8], format: Format) -> Decoded {
    let (mut decoder, mut rows, mut quarantined) = (Decoder::new(), Rows::new(), Vec::new());
    decoder.set_format(format);
    decoder.decode(&delivery(body), &mut rows, &mut quarantined);
    Decoded { batch: rows.finish(), quarantined, passed_over: decoder.take_passed_over() }
}

/// Decodes a body, by shape and with the hint, and compares its rows' auditIDs, its pieces'
/// reasons, and the number of records passed over.
fn check_cloud(body: &[u8], hint: &str, ids: &[&str], pieces: &[Reason], passed_over: usize) {
    for format in [Format::Auto, Format::from_str(hint).unwrap()] {
        let decoded = decode_as(body, format);
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let found: Vec<_> = texts(&decoded.batch, "audit_id").into_iter().flatten().collect();
        assert_eq!(found, ids, "{format}: {shown}");
        let source = if hint == "openshift" { "webhook" } else { hint };
        assert!(texts(&decoded.batch, "source").iter().all(|s| s.as_deref() == Some(source)));
        let found: Vec<_> = decoded.quarantined.iter().map(|piece| piece.reason).collect();
        assert_eq!(found, pieces, "{format}: {shown}");
        assert_eq!(decoded.passed_over, passed_over, "{format}: {shown}");
    }
}

#[test]
fn every_sample() {
    let cut = &[TruncatedEvent][..];
    check_cloud(&sample("eks-cloudwatch.json"), "eks", &["e-1", "e-2"], cut, 0);
    check_cloud(&sample("eks-packed.log"), "eks", &["e-1", "e-2"], cut, 1);
    check_cloud(&sample("eks-lambda.json"), "eks", &["e-1", "e-2"], cut, 0);
    check_cloud(&sample("eks-firehose.json"), "eks", &["e-1", "e-2", "e-4"], cut, 2);
    check_cloud(&sample("gke.json"), "gke", &["g-1-id", "g-2-id", "g-3-id"], &[], 1);
    check_cloud(&sample("gke-lines.log"), "gke", &["g-1-id", "g-2-id", "g-3-id"], &[], 1);
    check_cloud(&sample("aks.json"), "aks", &["a-1", "a-2"], &[MalformedJson], 2);
    check_cloud(&sample("aks-lines.log"), "aks", &["a-1", "a-2"], &[], 1);
    check_cloud(&sample("openshift.json"), "openshift", &["o-1"], &[], 0);
    check_cloud(&sample("openshift-node-logs.log"), "openshift", &["o-2", "o-3"], &[], 0);
}

#[test]
fn an_event_is_the_same_event_however_it_was_wrapped() {
    let (a, b) = (event("a"), event("b"));
    let plain = texts(&decode(list(&[a.clone(), b.clone()]).as_bytes()).0, "event_id");
    let record = |log: serde_json::Value| {
        let properties = serde_json::json!({ "log": log });
        serde_json::json!({"category": "kube-audit", "properties": properties})
    };
    let unfolded = serde_json::from_str(&b).unwrap();
    let azure = serde_json::json!({"records": [record(a.clone().into()), record(unfolded)]});
    let messages = [serde_json::json!({"message": a}), serde_json::json!({"message": b})];
    let aws = serde_json::json!({"messageType": "DATA_MESSAGE", "logEvents": messages});
    for wrapped in [azure, aws] {
        let decoded = decode_as(wrapped.to_string().as_bytes(), Format::Auto);
        assert_eq!(texts(&decoded.batch, "event_id"), plain, "{wrapped}");
    }
}

#[test]
fn a_cut_off_event_gives_up_its_id() {
    let decoded = decode_as(&sample("eks-cloudwatch.json"), Format::Auto);
    let piece = &decoded.quarantined[0];
    assert_eq!(piece.detail, "cut off by the sender, auditID `e-3`");
    assert_eq!((piece.offset, piece.source.as_str()), (0, "eks"));
    assert!(piece.bytes.starts_with(b"{\"kind\"") && piece.bytes.ends_with(b"[Truncated...]"));
}

#[test]
fn broken_records_cost_only_themselves() {
    let firehose = |data: &str| {
        let sound = base64_of(
            r#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":"{\"auditID\":\"a\"}"}]}"#,
        );
        format!(r#"{{"requestId":"r","records":[{{"data":"{data}"}},{{"data":"{sound}"}}]}}"#)
    };
    for (data, reason) in [
        ("*", BadPacking),
        ("H4sIAAAA", BadPacking),
        (&base64_of("H4sIAAAAAAACAzMwGAWjYBQMdwAAg5lfqOgDAAA=")[..], BadPacking),
        (&base64_of("not JSON"), MalformedJson),
        (&base64_of(r#"{"messageType":1,"logEvents":{}}"#), NotAnEvent),
        (&base64_of(r#"{"messageType":"DATA_MESSAGE","logEvents":[5]}"#), NotAnEvent),
        (&base64_of(r#"{"messageType":"","logEvents":[{"message":"[]"}]}"#), MalformedJson),
        (&base64_of(r#"{"messageType":"","logEvents":[{"message":"{}"}]}"#), NotAnEvent),
    ] {
        check_cloud(firehose(data).as_bytes(), "eks", &["a"], &[reason], 0);
    }
    for record in [
        "5",
        "{}",
        r#"{"category":"kube-audit"}"#,
        r#"{"category":"kube-audit","properties":{"log":5}}"#,
    ] {
        let body = format!(
            r#"{{"records":[{record},{{"category":"kube-audit","properties":{{"log":{}}}}}]}}"#,
            event("a")
        );
        check_cloud(body.as_bytes(), "aks", &["a"], &[NotAnEvent], 0);
    }
}

/// Base64 by an encoder for tests only.
fn base64_of(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = text.bytes().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    bits.chunks(6)
        .map(|six| (0..6).fold(0, |sum, n| sum << 1 | six.get(n).copied().unwrap_or(0)))
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[test]
fn unpacking_is_bounded() {
    let body = sample("eks-firehose.json");
    let (mut decoder, mut rows, mut quarantined) = (Decoder::new(), Rows::new(), Vec::new());
    decoder.set_unpacked_bytes_max(2_500);
    decoder.decode(&delivery(&body), &mut rows, &mut quarantined);
    assert!(quarantined.iter().any(|piece| piece.reason == BadPacking));
    let full = decode_as(&body, Format::Auto);
    assert!(rows.len() < full.batch.num_rows());
}

#[test]
fn columns_of_a_gke_entry() {
    let decoded = decode_as(&sample("gke.json"), Format::Auto);
    for (column, expected) in [
        ("verb", [Some("create"), Some("create"), Some("list")]),
        ("resource", [Some("pods"), Some("clusterrolebindings"), Some("secrets")]),
        ("subresource", [Some("exec"), None, None]),
        ("api_group", [None, Some("rbac.authorization.k8s.io"), None]),
        ("api_version", [Some("v1"); 3]),
        ("namespace", [Some("shop"), None, None]),
        ("name", [Some("web"), Some("ops"), None]),
        ("user_name", [Some("ops@example.com"); 3]),
        ("user_groups", [None; 3]),
        ("stage", [None; 3]),
        ("source_ip", [Some("203.0.113.9"); 3]),
        ("source_ips", [Some("[\"203.0.113.9\"]"); 3]),
        ("response_code", [None, None, Some("403")]),
        ("response_message", [None, None, Some("secrets is forbidden")]),
        ("decision", [Some("allow"), Some("allow"), Some("forbid")]),
        ("response_object", [None, Some("{\n    \"kind\": \"ClusterRoleBinding\"\n   }"), None]),
    ] {
        assert_eq!(
            texts(&decoded.batch, column),
            expected.map(|t| t.map(str::to_owned)),
            "{column}"
        );
    }
    let other: serde_json::Value =
        serde_json::from_str(texts(&decoded.batch, "other")[0].as_deref().unwrap()).unwrap();
    assert_eq!(other.pointer("/resource/labels/cluster_name").unwrap(), "shop");
    assert_eq!(other.pointer("/protoPayload/serviceName").unwrap(), "k8s.io");
    assert_eq!(other.pointer("/timestamp"), None);
}

#[test]
fn a_clients_members_do_not_make_an_envelope_of_an_event() {
    for member in [
        r#""protoPayload":{}"#,
        r#""records":[{"category":"x"}]"#,
        r#""messageType":"CONTROL_MESSAGE","logEvents":[]"#,
        r#""category":"guard","properties":{}"#,
        r#""awslogs":{"data":""}"#,
    ] {
        check(format!(r#"{{{member},"auditID":"a"}}"#), &["a"], &[]);
        check(format!(r#"[{{"auditID":"a",{member}}}]"#), &["a"], &[]);
    }
}

#[test]
fn a_hint_narrows() {
    let decoded = decode_as(&sample("gke.json"), Format::Lines);
    assert_eq!((decoded.batch.num_rows(), decoded.quarantined.len()), (0, 4));
    assert!(decoded.quarantined.iter().all(|piece| piece.reason == NotAnEvent));
    let decoded = decode_as(&sample("openshift-node-logs.log"), Format::Gke);
    assert_eq!((decoded.batch.num_rows(), decoded.quarantined[0].reason), (0, MalformedJson));
    for format in ["lines", "eks", "gke", "aks", "openshift"] {
        let decoded = decode_as(list(&[event("a")]).as_bytes(), format.parse().unwrap());
        assert_eq!(decoded.batch.num_rows(), 1, "plain events are read whatever the hint");
    }
}
