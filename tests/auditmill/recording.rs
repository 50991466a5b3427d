//! What is found in the recording of a real cluster: the attacks that were made, nothing bad in
//! everybody else's work, and the same whatever way the events come in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::{list, recorded_lines, repository};
use super::program::{run, run_with_input};
use super::server::TestServer;

/// What was done, from `actions.jsonl`.
#[derive(Deserialize)]
struct Action {
    t0: String,
    t1: String,
    label: String,
    actor: String,
}

/// The detections that the recording must make fire, and by which attacks.
const ATTACKS: [(&str, &[&str]); 6] = [
    ("K8A-101", &["attack:anonymous-success"]),
    ("K8A-203", &["attack:secret-list-all"]),
    ("K8A-301", &["attack:crb-cluster-admin", "attack:crb-cluster-admin-sa"]),
    ("K8A-309", &["attack:role-wildcard", "attack:role-patch-escalate"]),
    ("K8A-401", &["attack:exec", "attack:cp"]),
    ("K8A-501", &["attack:privileged-pod"]),
];
/// Denials of the labelled load are noise that nobody judges.
const NOT_JUDGED: &str = "K8A-108";
/// So many events follow the recording, ten minutes apart, for windows that must be over.
const LATER: u32 = 48;

#[test]
fn every_labelled_attack_fires() {
    let findings = scan(&recording());
    let actions = actions();
    for (detection, labels) in ATTACKS {
        let fired: BTreeSet<&str> = findings
            .iter()
            .filter(|finding| finding["detection"] == detection)
            .flat_map(|finding| labels_of(finding, &actions))
            .collect();
        for label in labels {
            assert!(fired.contains(label), "{detection} did not fire on {label}: {fired:?}");
        }
    }
}

#[test]
fn benign_work_is_quiet() {
    let actions = actions();
    let mut judged = 0;
    for finding in scan(&recording()) {
        if finding["detection"] == NOT_JUDGED {
            continue;
        }
        judged += 1;
        let labels = labels_of(&finding, &actions);
        let attack = labels.iter().any(|label| label.starts_with("attack:"));
        let severity = finding["severity"].as_str().unwrap();
        assert!(
            attack || matches!(severity, "informational" | "low"),
            "{severity} although nobody attacked ({labels:?}): {finding}"
        );
    }
    assert!(judged >= ATTACKS.len());
}

#[test]
fn files_of_any_form_and_order_give_the_same_findings() {
    let lines = recorded_lines();
    let expected = stable(&scan(&recording()));
    assert!(expected.len() >= ATTACKS.len());
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let log = lines.join("\n") + "\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(log.as_bytes()).unwrap();
    let twice: Vec<&str> = lines.iter().flat_map(|line| [line.as_str(), line.as_str()]).collect();
    let halves = lines.split_at(lines.len() / 2);
    let forms = [
        ("shuffled", vec![write("shuffled", shuffled(&lines, 7).join("\n").as_bytes())]),
        ("every line twice", vec![write("twice", twice.join("\n").as_bytes())]),
        ("the file twice", vec![recording(), recording()]),
        ("gzip", vec![write("log.gz", &gzip.finish().unwrap())]),
        ("zstandard", vec![write("log.zst", &zstd::encode_all(log.as_bytes(), 1).unwrap())]),
        ("one list", vec![write("list.json", list(&items(&lines)).as_bytes())]),
        ("a list per line", vec![write("lists.jsonl", lists(&lines, 100).join("\n").as_bytes())]),
        (
            "halves, the second first",
            vec![
                write("second", halves.1.join("\n").as_bytes()),
                write("first", list(&items(halves.0)).as_bytes()),
            ],
        ),
    ];
    for (form, files) in forms {
        let found = scan_all(&files);
        assert_same(&expected, &stable(&found), form);
    }
    let piped = run_with_input(["scan", "--format", "json", "-"], log.as_bytes());
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    assert_same(&expected, &stable(&json_lines(&piped.stdout)), "standard input");
}

#[tokio::test]
async fn a_live_server_finds_what_scan_finds() {
    // Some windows tell only when they are over: events of later hours end them.
    let dir = tempfile::tempdir().unwrap();
    let (later, ends) = (dir.path().join("later"), later_hours());
    std::fs::write(&later, ends.join("\n")).unwrap();
    let expected = stable(&scan_all(&[recording(), later]));
    let lines = shuffled(&recorded_lines(), 11);
    let server = TestServer::start("");
    for body in lists(&lines, 63) {
        assert_eq!(server.post("default", body).await, 200);
    }
    for end in &ends {
        assert_eq!(server.post("default", list(&[end])).await, 200);
        // Time passes bit by bit: findings of one window are events of the next.
        server.quiesce().await;
    }
    server.quiesce().await;
    let found = server.findings("").await;
    assert_same(&told(expected), &told(stable(&found)), "live");
    // A second sending of everything, in another order and other bodies, changes nothing.
    for body in lists(&shuffled(&lines, 13), 400) {
        assert_eq!(server.post("default", body).await, 200);
    }
    server.quiesce().await;
    assert_eq!(server.findings("").await, found);
    assert_eq!(server.number("SELECT count(*) FROM events").await, 2_508 + i64::from(LATER));
}

fn recording() -> PathBuf {
    repository("testdata/events/realcluster/audit.jsonl")
}

/// Events of the eight hours after the recording, which are nobody's and nothing.
fn later_hours() -> Vec<String> {
    let event = |minutes: u32| {
        let time = format!("2026-11-21T{:02}:{:02}:00.000000Z", 8 + minutes / 60, minutes % 60);
        json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": format!("later-{minutes}"),
            "stage": "ResponseComplete",
            "requestURI": "/version",
            "verb": "get",
            "user": { "username": "system:apiserver", "groups": ["system:masters"] },
            "sourceIPs": ["::1"],
            "userAgent": "kube-apiserver/v1.36.3",
            "responseStatus": { "metadata": {}, "code": 200 },
            "requestReceivedTimestamp": time,
            "stageTimestamp": time,
            "annotations": { "authorization.k8s.io/decision": "allow" }
        })
        .to_string()
    };
    (0..LATER).map(|number| event(number * 10)).collect()
}

fn actions() -> Vec<Action> {
    let path = repository("testdata/events/realcluster/actions.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The labels of what was being done when a finding's evidence happened, by whom it names.
fn labels_of<'a>(finding: &Value, actions: &'a [Action]) -> BTreeSet<&'a str> {
    let row = finding["row"].as_object().unwrap();
    let who: Vec<&str> = ["user_name", "impersonated_user"]
        .iter()
        .filter_map(|column| row.get(*column)?.as_str())
        .collect();
    let events = finding["evidence"].as_array().unwrap();
    let mut times: Vec<&str> = events.iter().filter_map(|e| e["event_time"].as_str()).collect();
    // One over findings shows a few of them: anything between the first and the last may be meant.
    let over_findings = events.iter().any(|event| event["audit_id"].is_null());
    let (first, last) = (finding["first_seen"].as_str(), finding["last_seen"].as_str());
    if let (true, Some(first), Some(last)) = (over_findings, first, last) {
        let between = |time: &&str| (first..=last).contains(time);
        times.extend(actions.iter().map(|action| action.t0.as_str()).filter(between));
    }
    let of = actions.iter().filter(|action| {
        // A detection that keys by address shows no user: the time has to do.
        let by_actor = who.is_empty() || who.contains(&user(&action.actor));
        // All times are in one form, so text compares like time.
        by_actor && times.iter().any(|time| (action.t0.as_str()..=&action.t1).contains(time))
    });
    of.map(|action| action.label.as_str()).collect()
}

/// The user name of an actor: the recording's README says how they differ.
fn user(actor: &str) -> &str {
    match actor {
        "admin" => "kubernetes-admin",
        "ops" => "oncall",
        "anonymous" => "system:anonymous",
        "sa:dev:default" => "system:serviceaccount:dev:default",
        other => other,
    }
}

fn scan(file: &Path) -> Vec<Value> {
    scan_all(&[file.to_owned()])
}

fn scan_all(files: &[PathBuf]) -> Vec<Value> {
    let arguments = ["scan".into(), "--format".into(), "json".into()];
    let ended = run(arguments.into_iter().chain(files.iter().cloned()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    json_lines(&ended.stdout)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What must not depend on the way in: by id, all but what arrival decides.
fn stable(findings: &[Value]) -> BTreeMap<String, Value> {
    let fields = [
        "id",
        "detection",
        "severity",
        "status",
        "count",
        "key",
        "first_seen",
        "last_seen",
        "evidence",
        "summary",
        "row",
    ];
    let by_id: BTreeMap<String, Value> = findings
        .iter()
        .map(|finding| {
            let kept = fields.iter().map(|field| ((*field).to_owned(), finding[field].clone()));
            let id = finding["id"].as_str().unwrap().to_owned();
            (id, Value::Object(kept.collect()))
        })
        .collect();
    assert_eq!(by_id.len(), findings.len(), "an id came twice");
    by_id
}

/// Of findings over findings only that they were told: what is told of late comes after them, so
/// how many they counted depends on the order in which events arrive.
fn told(mut findings: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for finding in findings.values_mut() {
        let mut evidence = finding["evidence"].as_array().unwrap().iter();
        if evidence.any(|event| event["audit_id"].is_null()) {
            *finding = json!([finding["detection"], finding["severity"], finding["key"]]);
        }
    }
    findings
}

fn assert_same(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>, form: &str) {
    let ids: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for id in ids {
        assert_eq!(expected.get(id), found.get(id), "{form}");
    }
}

/// Log lines as items of a list: without what only the log backend writes.
fn items(lines: &[String]) -> Vec<String> {
    let head = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#;
    let item = |line: &String| match line.strip_prefix(head) {
        Some(rest) => format!("{{{rest}"),
        None => panic!("a line without its head: {line}"),
    };
    lines.iter().map(item).collect()
}

/// Bodies of so many events each.
fn lists(lines: &[String], events: usize) -> Vec<String> {
    items(lines).chunks(events).map(list).collect()
}

/// The same lines in an order that the seed decides.
fn shuffled(lines: &[String], seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut keyed: Vec<(u64, &String)> = lines
        .iter()
        .map(|line| {
            // Knuth's constants: any order that is far from the given one will do.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33, line)
        })
        .collect();
    keyed.sort();
    keyed.into_iter().map(|(_, line)| line.clone()).collect()
}

#[test]
fn shuffling_shuffles() {
    let lines: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    let mixed = shuffled(&lines, 7);
    assert_ne!(mixed, lines);
    let back: BTreeSet<&String> = mixed.iter().collect();
    assert_eq!(json!(back), json!(lines));
}
