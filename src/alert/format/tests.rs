//! Documents against facts of the published schemas.

use serde_json::{Value as Json, json};

use super::*;
use crate::findings::record::{EvidenceRecord, Severity, Status};

/// A finding with all that there may be.
fn full() -> FindingRecord {
    let Json::Object(row) = json!({
        "user_name": "eve", "user_uid": "u-1", "user_groups": "[\"dev\",\"system:authenticated\"]",
        "source_ip": "10.0.0.9", "user_agent": "kubectl/v1.36", "verb": "create",
        "credential_id": "JTI=1", "resource": "pods", "namespace": "prod", "name": "shell",
        "object_uid": "o-1", "impersonated_user": "root", "api_version": "v1",
    }) else {
        panic!("an object is an object")
    };
    let Json::Object(key) = json!({"cluster": "east", "user_name": "eve"}) else {
        panic!("an object is an object")
    };
    FindingRecord {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        detection: "K8A-205".to_owned(),
        title: "One identity reads many secrets".to_owned(),
        severity: Severity::High,
        status: Status::Open,
        cluster: "east".to_owned(),
        key,
        count: 17,
        first_seen: "2026-03-01T00:00:01.000001Z".to_owned(),
        last_seen: "2026-03-01T00:10:00.500000Z".to_owned(),
        summary: "eve read 17 secrets".to_owned(),
        evidence: vec![EvidenceRecord {
            event_id: "e1".to_owned(),
            audit_id: Some("a1".to_owned()),
            event_time: "2026-03-01T00:00:01.000001Z".to_owned(),
        }],
        attack: vec!["T1552.007".to_owned(), "T1078".to_owned()],
        controls: vec!["SEC-1".to_owned()],
        row,
        respond: "Revoke it.".to_owned(),
        incomplete: false,
        revision: 1,
    }
}

/// One of which hardly anything is known, as of a cluster that fell silent.
fn bare() -> FindingRecord {
    let (first_seen, last_seen) = (String::new(), String::new());
    let (key, row, evidence) = (Map::new(), Map::new(), Vec::new());
    let (attack, controls, respond) = (Vec::new(), Vec::new(), String::new());
    let severity = Severity::Informational;
    let bare = FindingRecord { severity, key, evidence, attack, controls, row, respond, ..full() };
    FindingRecord { first_seen, last_seen, count: 0, ..bare }
}

fn findings() -> Vec<FindingRecord> {
    let mut all = vec![full(), bare()];
    for severity in Severity::ALL {
        all.push(FindingRecord { severity, revision: 3, ..full() });
        all.push(FindingRecord { severity, status: Status::Withdrawn, ..bare() });
    }
    let mut hostile = full();
    hostile.row.insert("source_ip".to_owned(), json!("not an address"));
    hostile.row.insert("user_groups".to_owned(), json!("[broken"));
    hostile.row.insert("name".to_owned(), json!(7));
    all.push(hostile);
    all
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Whole,
    Number,
    Object,
    List,
}

/// An attribute: where (`*` is each item of a list), whether it must be where its parent is, its
/// type, and, if the schema names them, the values that it may have.
type Fact = (&'static str, bool, Kind, &'static [&'static str]);

// OCSF 1.3.0 (github.com/ocsf/ocsf-schema: events/findings/detection_finding.json and
// finding.json, events/base_event.json, and of objects/: metadata, product, finding_info,
// analytic, attack, technique, evidences, actor, user, group, network_endpoint, api, request,
// service, resource_details, remediation; dictionary.json for types).
const OCSF: &[Fact] = &[
    ("activity_id", true, Kind::Whole, &["0", "1", "2", "3", "99"]),
    ("activity_name", false, Kind::Text, &["\"Create\"", "\"Update\"", "\"Close\""]),
    ("category_uid", true, Kind::Whole, &["2"]),
    ("category_name", false, Kind::Text, &["\"Findings\""]),
    ("class_uid", true, Kind::Whole, &["2004"]),
    ("class_name", false, Kind::Text, &["\"Detection Finding\""]),
    ("type_uid", true, Kind::Whole, &["200400", "200401", "200402", "200403", "200499"]),
    ("type_name", false, Kind::Text, &[]),
    ("severity_id", true, Kind::Whole, &["0", "1", "2", "3", "4", "5", "6", "99"]),
    (
        "severity",
        false,
        Kind::Text,
        &["\"Informational\"", "\"Low\"", "\"Medium\"", "\"High\"", "\"Critical\""],
    ),
    ("status_id", false, Kind::Whole, &["0", "1", "2", "3", "4", "5", "99"]),
    ("status", false, Kind::Text, &["\"New\"", "\"Resolved\""]),
    ("time", true, Kind::Whole, &[]),
    ("start_time", false, Kind::Whole, &[]),
    ("end_time", false, Kind::Whole, &[]),
    ("count", false, Kind::Whole, &[]),
    ("message", false, Kind::Text, &[]),
    ("metadata", true, Kind::Object, &[]),
    ("metadata.version", true, Kind::Text, &["\"1.3.0\""]),
    ("metadata.uid", false, Kind::Text, &[]),
    ("metadata.log_name", false, Kind::Text, &[]),
    ("metadata.product", true, Kind::Object, &[]),
    ("metadata.product.name", true, Kind::Text, &[]),
    ("metadata.product.vendor_name", true, Kind::Text, &[]),
    ("metadata.product.version", false, Kind::Text, &[]),
    ("finding_info", true, Kind::Object, &[]),
    ("finding_info.uid", true, Kind::Text, &[]),
    ("finding_info.title", true, Kind::Text, &[]),
    ("finding_info.desc", false, Kind::Text, &[]),
    ("finding_info.types", false, Kind::List, &[]),
    ("finding_info.types.*", false, Kind::Text, &[]),
    ("finding_info.analytic", false, Kind::Object, &[]),
    // 5 to 11 are ways to look for data.
    ("finding_info.analytic.type_id", true, Kind::Whole, &["0", "1", "2", "3", "4", "99"]),
    ("finding_info.analytic.type", false, Kind::Text, &["\"Rule\""]),
    ("finding_info.analytic.uid", false, Kind::Text, &[]),
    ("finding_info.analytic.name", false, Kind::Text, &[]),
    ("finding_info.attacks", false, Kind::List, &[]),
    ("finding_info.attacks.*", false, Kind::Object, &[]),
    ("finding_info.attacks.*.version", true, Kind::Text, &[]),
    ("finding_info.attacks.*.technique", true, Kind::Object, &[]),
    ("finding_info.attacks.*.technique.uid", true, Kind::Text, &[]),
    ("finding_info.first_seen_time", false, Kind::Whole, &[]),
    ("finding_info.last_seen_time", false, Kind::Whole, &[]),
    ("finding_info.data_sources", false, Kind::List, &[]),
    ("finding_info.data_sources.*", false, Kind::Text, &[]),
    ("evidences", false, Kind::List, &[]),
    ("evidences.*", false, Kind::Object, &[]),
    // At least one of several must be there; this one always is. Its type is any JSON.
    ("evidences.*.data", true, Kind::Object, &[]),
    ("evidences.*.data.events", false, Kind::List, &[]),
    ("evidences.*.actor", false, Kind::Object, &[]),
    ("evidences.*.actor.app_name", false, Kind::Text, &[]),
    ("evidences.*.actor.user", false, Kind::Object, &[]),
    ("evidences.*.actor.user.name", false, Kind::Text, &[]),
    ("evidences.*.actor.user.uid", false, Kind::Text, &[]),
    ("evidences.*.actor.user.credential_uid", false, Kind::Text, &[]),
    ("evidences.*.actor.user.groups", false, Kind::List, &[]),
    ("evidences.*.actor.user.groups.*", false, Kind::Object, &[]),
    ("evidences.*.actor.user.groups.*.name", false, Kind::Text, &[]),
    ("evidences.*.src_endpoint", false, Kind::Object, &[]),
    ("evidences.*.src_endpoint.ip", false, Kind::Text, &[]),
    ("evidences.*.api", false, Kind::Object, &[]),
    ("evidences.*.api.operation", true, Kind::Text, &[]),
    ("evidences.*.api.request", false, Kind::Object, &[]),
    ("evidences.*.api.request.uid", true, Kind::Text, &[]),
    ("evidences.*.api.service", false, Kind::Object, &[]),
    ("evidences.*.api.service.name", false, Kind::Text, &[]),
    ("resources", false, Kind::List, &[]),
    ("resources.*", false, Kind::Object, &[]),
    // Of name and uid one must be there.
    ("resources.*.name", true, Kind::Text, &[]),
    ("resources.*.type", false, Kind::Text, &[]),
    ("resources.*.namespace", false, Kind::Text, &[]),
    ("resources.*.uid", false, Kind::Text, &[]),
    ("remediation", false, Kind::Object, &[]),
    ("remediation.desc", true, Kind::Text, &[]),
    ("unmapped", false, Kind::Object, &[]),
];

// Elastic Common Schema 8.17 (elastic.co/guide/en/ecs/8.17: base, event with its categorization
// fields, rule, threat, user, source, `user_agent`, orchestrator, related, observer).
const ECS: &[Fact] = &[
    ("@timestamp", true, Kind::Text, &[]),
    ("ecs", true, Kind::Object, &[]),
    ("ecs.version", true, Kind::Text, &["\"8.17.0\""]),
    ("message", false, Kind::Text, &[]),
    ("event", true, Kind::Object, &[]),
    ("event.kind", true, Kind::Text, &["\"alert\""]),
    ("event.category", true, Kind::List, &["[\"intrusion_detection\"]"]),
    ("event.category.*", false, Kind::Text, &[]),
    // What may go with that category: allowed, denied, info.
    ("event.type", true, Kind::List, &["[\"info\"]"]),
    ("event.type.*", false, Kind::Text, &[]),
    ("event.id", true, Kind::Text, &[]),
    ("event.action", false, Kind::Text, &[]),
    ("event.dataset", false, Kind::Text, &[]),
    ("event.module", false, Kind::Text, &[]),
    ("event.provider", false, Kind::Text, &[]),
    ("event.reason", false, Kind::Text, &[]),
    ("event.severity", false, Kind::Whole, &[]),
    ("event.risk_score", false, Kind::Number, &[]),
    ("event.start", false, Kind::Text, &[]),
    ("event.end", false, Kind::Text, &[]),
    ("rule", true, Kind::Object, &[]),
    ("rule.id", true, Kind::Text, &[]),
    ("rule.name", true, Kind::Text, &[]),
    ("threat", false, Kind::Object, &[]),
    ("threat.framework", true, Kind::Text, &["\"MITRE ATT&CK\""]),
    ("threat.technique", true, Kind::Object, &[]),
    ("threat.technique.id", true, Kind::List, &[]),
    ("threat.technique.id.*", false, Kind::Text, &[]),
    ("threat.technique.subtechnique", false, Kind::Object, &[]),
    ("threat.technique.subtechnique.id", true, Kind::List, &[]),
    ("threat.technique.subtechnique.id.*", false, Kind::Text, &[]),
    ("user", false, Kind::Object, &[]),
    ("user.name", false, Kind::Text, &[]),
    ("user.id", false, Kind::Text, &[]),
    ("user.roles", false, Kind::List, &[]),
    ("user.roles.*", false, Kind::Text, &[]),
    ("user.effective", false, Kind::Object, &[]),
    ("user.effective.name", true, Kind::Text, &[]),
    ("source", false, Kind::Object, &[]),
    ("source.ip", true, Kind::Text, &[]),
    ("user_agent", false, Kind::Object, &[]),
    ("user_agent.original", true, Kind::Text, &[]),
    ("orchestrator", true, Kind::Object, &[]),
    ("orchestrator.type", true, Kind::Text, &["\"kubernetes\""]),
    ("orchestrator.cluster", true, Kind::Object, &[]),
    ("orchestrator.cluster.name", true, Kind::Text, &[]),
    ("orchestrator.namespace", false, Kind::Text, &[]),
    ("orchestrator.api_version", false, Kind::Text, &[]),
    ("orchestrator.resource", false, Kind::Object, &[]),
    ("orchestrator.resource.name", false, Kind::Text, &[]),
    ("orchestrator.resource.type", false, Kind::Text, &[]),
    ("orchestrator.resource.id", false, Kind::Text, &[]),
    ("related", false, Kind::Object, &[]),
    ("related.user", false, Kind::List, &[]),
    ("related.user.*", false, Kind::Text, &[]),
    ("related.ip", false, Kind::List, &[]),
    ("related.ip.*", false, Kind::Text, &[]),
    ("observer", false, Kind::Object, &[]),
    ("observer.product", false, Kind::Text, &[]),
    ("observer.vendor", false, Kind::Text, &[]),
    ("observer.type", false, Kind::Text, &[]),
    // Our own.
    ("auditmill", false, Kind::Object, &[]),
];

/// What is free of form.
const FREE: [&str; 3] = ["unmapped", "auditmill", "evidences.*.data.events"];

/// What is wrong with a document by the facts of its schema.
fn wrong(facts: &[Fact], path: &str, value: &Json) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, _, kind, values)) = facts.iter().find(|(known, ..)| *known == path) {
        let is_kind = match kind {
            Kind::Text => value.is_string(),
            Kind::Whole => value.is_u64() || value.is_i64(),
            Kind::Number => value.is_number(),
            Kind::Object => value.is_object(),
            Kind::List => value.is_array(),
        };
        if !is_kind {
            found.push(format!("{path}: {value} is not {kind:?}"));
        }
        if !values.is_empty() && !values.contains(&value.to_string().as_str()) {
            found.push(format!("{path}: {value} is not one of {values:?}"));
        }
    } else if !path.is_empty() {
        found.push(format!("{path}: not in the schema"));
    }
    if FREE.contains(&path) {
        return found;
    }
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Json::Object(members) => {
            for (known, ..) in facts.iter().filter(|(_, required, ..)| *required) {
                let name = known.rsplit('.').next().unwrap();
                if below(name) == *known && !members.contains_key(name) {
                    found.push(format!("{known}: is missing"));
                }
            }
            for (name, value) in members {
                found.extend(wrong(facts, &below(name), value));
            }
        }
        Json::Array(items) => {
            found.extend(items.iter().flat_map(|item| wrong(facts, &below("*"), item)));
        }
        _ => {}
    }
    found
}

fn read(format: Format, finding: &FindingRecord) -> Json {
    serde_json::from_slice(&bytes(format, finding)).unwrap()
}

#[test]
fn documents_are_as_their_schemas_say() {
    for finding in findings() {
        for (format, facts) in [(Format::Ocsf, OCSF), (Format::Ecs, ECS)] {
            let document = read(format, &finding);
            let wrong = wrong(facts, "", &document);
            assert!(wrong.is_empty(), "{format:?}: {wrong:?}\n{document:#}");
        }
    }
}

/// The check itself sees what is wrong.
#[test]
fn what_a_schema_does_not_allow_is_seen() {
    let check = |change: fn(&mut Json), expected: &str| {
        let mut document = read(Format::Ocsf, &full());
        change(&mut document);
        let wrong = wrong(OCSF, "", &document).join("\n");
        assert!(wrong.contains(expected), "{wrong}");
    };
    check(|d| drop(d["finding_info"].as_object_mut().unwrap().remove("uid")), "uid: is missing");
    check(|d| d["severity_id"] = json!(7), "severity_id: 7 is not one of");
    check(|d| d["time"] = json!("now"), "time: \"now\" is not Whole");
    check(|d| d["colour"] = json!("red"), "colour: not in the schema");
}

#[test]
fn what_a_finding_says_is_where_the_schemas_have_it() {
    let ocsf = read(Format::Ocsf, &full());
    for (pointer, expected) in [
        ("/type_uid", json!(200_401)),
        ("/time", json!(1_772_323_800_500_i64)),
        ("/severity_id", json!(4)),
        ("/finding_info/attacks/0/technique/uid", json!("T1552.007")),
        ("/evidences/0/actor/user/name", json!("eve")),
        ("/evidences/0/actor/user/groups/1/name", json!("system:authenticated")),
        ("/evidences/0/src_endpoint/ip", json!("10.0.0.9")),
        ("/evidences/0/data/events/0/audit_id", json!("a1")),
        ("/resources/1/name", json!("shell")),
        ("/unmapped/controls", json!(["SEC-1"])),
    ] {
        assert_eq!(ocsf.pointer(pointer), Some(&expected), "{pointer}");
    }
    let later = FindingRecord { revision: 2, ..full() };
    assert_eq!(read(Format::Ocsf, &later)["activity_id"], 2);
    let over = FindingRecord { status: Status::Withdrawn, ..full() };
    assert_eq!(read(Format::Ocsf, &over)["type_uid"], 200_403);
    let ecs = read(Format::Ecs, &full());
    for (pointer, expected) in [
        ("/event/id", json!("0123456789abcdef0123456789abcdef-1")),
        ("/threat/technique/id", json!(["T1552", "T1078"])),
        ("/threat/technique/subtechnique/id", json!(["T1552.007"])),
        ("/user/effective/name", json!("root")),
        ("/source/ip", json!("10.0.0.9")),
        ("/orchestrator/cluster/name", json!("east")),
        ("/orchestrator/resource/type", json!("pods")),
        ("/auditmill/finding/count", json!(17)),
    ] {
        assert_eq!(ecs.pointer(pointer), Some(&expected), "{pointer}");
    }
}
