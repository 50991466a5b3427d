//! Hardening controls over events of a real API server: broken, kept, and nobody could tell.

use std::collections::BTreeMap;

use serde_json::Value;

use super::events::repository;
use super::program::run;
use super::server::TestServer;

const FAILING: &str = "testdata/events/hardening/failing.jsonl";
const PASSING: &str = "testdata/events/hardening/passing.jsonl";

/// What only the operator knows, so that the passing recording passes.
const KNOWN: [&str; 6] = [
    "--set",
    "trusted_networks=127.0.0.0/8",
    "--set",
    "trusted_registries=registry.example/",
    "--set",
    "required_runtimes=elsewhere=gvisor",
];
/// So that the failing one fails.
const OTHERWISE: [&str; 6] = [
    "--set",
    "trusted_networks=10.0.0.0/8",
    "--set",
    "trusted_registries=registry.example/",
    "--set",
    "required_runtimes=dev=gvisor",
];
/// What no event can show, or what is a sum.
const NEVER: [&str; 3] = ["SEC-2", "MON-5", "MON-6"];
/// Made of findings alone, for which the past has to be known, or of deeds that a sound API server
/// does not let anybody do.
const OF_FINDINGS: [&str; 4] = ["MON-2", "MON-3", "MON-4", "UPD-1"];

fn posture(arguments: &[&str]) -> (Value, BTreeMap<String, Value>) {
    let ended = run(["posture", "--format", "json"].iter().chain(arguments));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let posture: Value = serde_json::from_str(&ended.stdout).unwrap();
    let lines = posture["controls"].as_array().unwrap();
    let lines = lines.iter().map(|line| (line["id"].as_str().unwrap().to_owned(), line.clone()));
    let lines: BTreeMap<String, Value> = lines.collect();
    for line in lines.values() {
        let reason = line["reason"].as_str().unwrap();
        assert!(!reason.contains("not answered"), "{}: {reason}", line["id"]);
        assert!(!reason.is_empty(), "{}", line["id"]);
    }
    (posture, lines)
}

fn file(path: &str) -> String {
    repository(path).display().to_string()
}

#[test]
fn each_control_fails_on_the_deed_that_breaks_it() {
    let failing = file(FAILING);
    let (_, lines) = posture(&[&OTHERWISE[..], &[&failing]].concat());
    for (id, line) in &lines {
        if NEVER.contains(&id.as_str()) || OF_FINDINGS.contains(&id.as_str()) {
            continue;
        }
        assert_eq!(line["verdict"], "fail", "{id}: {line}");
        // Refused requests alone are no failure: what is made of them is.
        if id != "API-4" {
            assert!(line["failing"].as_u64().unwrap() > 0, "{id}: {line}");
        }
        if id != "BEN-1" && id != "API-4" {
            let evidence = line["evidence"].as_array().unwrap();
            assert!(!evidence.is_empty() && evidence.len() <= 5, "{id}: {line}");
            for event in evidence {
                assert!(!event["what"].as_str().unwrap().is_empty(), "{id}: {event}");
                assert_eq!(event["event_id"].as_str().unwrap().len(), 32, "{id}: {event}");
            }
            assert!(line["query"].as_str().unwrap().contains("SELECT"), "{id}");
        }
    }
}

#[test]
fn each_control_holds_where_it_only_looks_like_that() {
    let passing = file(PASSING);
    let (all, lines) = posture(&[&KNOWN[..], &[&passing]].concat());
    assert_eq!(all["controls"].as_array().unwrap().len(), 44);
    every_control_of_the_detections_has_a_line(&lines);
    for (id, line) in &lines {
        if NEVER.contains(&id.as_str()) || id == "BEN-1" {
            continue;
        }
        assert!(line["seen"].as_u64().unwrap() > 0, "{id}: {line}");
        assert_eq!(line["failing"], 0, "{id}: {line}");
        // Detections have tests of their own for what they find.
        if line["findings"] == 0 {
            assert_eq!(line["verdict"], "pass", "{id}: {line}");
        }
    }
}

fn every_control_of_the_detections_has_a_line(lines: &BTreeMap<String, Value>) {
    let ended = run(["detections", "list", "--format", "json"]);
    for line in ended.stdout.lines() {
        let detection: Value = serde_json::from_str(line).unwrap();
        for control in detection["controls"].as_array().into_iter().flatten() {
            let control = control.as_str().unwrap();
            assert!(lines.contains_key(control), "{control}: {detection}");
        }
    }
}

#[test]
fn a_deprecated_call_and_a_broken_event_fail_too() {
    // No API of the recorded release is about to go: the annotation is put into a recorded event.
    let text = std::fs::read_to_string(repository(PASSING)).unwrap();
    let line = text.lines().find(|line| line.contains("\"username\":\"alice\"")).unwrap();
    let mut event: Value = serde_json::from_str(line).unwrap();
    event["annotations"]["k8s.io/deprecated"] = "true".into();
    event["annotations"]["k8s.io/removed-release"] = "1.99".into();
    event["annotations"]["authorization.k8s.io/decision"] = "allow".into();
    event["stage"] = "ResponseComplete".into();
    event["responseStatus"]["code"] = 200.into();
    event["objectRef"] = serde_json::json!({"resource": "things", "apiVersion": "v1beta1"});
    let mut nobody = event.clone();
    nobody["user"] = Value::Null;
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), format!("{event}\n{nobody}\n")).unwrap();
    let some = ["--control", "UPD-1", "--control", "MON-4"];
    let (_, lines) = posture(&[&some[..], &[&log.path().display().to_string()]].concat());
    assert_eq!(lines["UPD-1"]["verdict"], "fail", "{}", lines["UPD-1"]);
    assert_eq!(lines["MON-4"]["verdict"], "fail", "{}", lines["MON-4"]);
}

#[test]
fn without_evidence_it_says_why_and_which_rule_would_help() {
    let passing = file(PASSING);
    let some = ["--control", "WL-1", "--control", "NET-1", "--control", "MON-5"];
    let (all, lines) = posture(&[&some[..], &["--since", "2200-01-01", &passing]].concat());
    assert_eq!(all["events"], 0);
    for (id, line) in &lines {
        assert_eq!(line["verdict"], "no_evidence", "{id}: {line}");
    }
    // Bodies of pods that were not logged.
    let text = std::fs::read_to_string(repository(PASSING)).unwrap();
    let mut stripped = String::new();
    for line in text.lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event["level"] = "Metadata".into();
        let members = event.as_object_mut().unwrap();
        members.remove("requestObject");
        members.remove("responseObject");
        stripped.push_str(&event.to_string());
        stripped.push('\n');
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), stripped).unwrap();
    let log = log.path().display().to_string();
    let (_, lines) = posture(&["--control", "WL-1", &log]);
    let line = &lines["WL-1"];
    assert_eq!(line["verdict"], "no_evidence");
    assert!(line["reason"].as_str().unwrap().contains("none of them at level Request"), "{line}");
    let rule = line["rule"].as_str().unwrap();
    assert!(rule.starts_with("- level: Request\n") && rule.contains("deployments"), "{rule}");
    // Where the policy would have shown a deed, silence is evidence.
    let policy = file("deployments/audit-policy.yaml");
    let one = ["--control", "NET-4", "--since", "2026-11-21T00:00:00Z"];
    let quiet = tempfile::NamedTempFile::new().unwrap();
    let first = text.lines().find(|line| line.contains("\"secrets\"")).unwrap();
    std::fs::write(quiet.path(), first).unwrap();
    let quiet = quiet.path().display().to_string();
    let (_, lines) = posture(&[&one[..], &[&quiet]].concat());
    assert_eq!(lines["NET-4"]["verdict"], "no_evidence");
    let (_, lines) = posture(&[&one[..], &["--policy", &policy, &quiet]].concat());
    assert_eq!(lines["NET-4"]["verdict"], "pass", "{}", lines["NET-4"]);
}

#[test]
fn the_page_holds_text_only_and_exit_codes_tell() {
    let text = std::fs::read_to_string(repository(FAILING)).unwrap();
    let hostile = "<script>alert(1)</script>\\u001b[31m\\u202e\\u0000";
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), text.replace("\"toolbox\"", &format!("\"{hostile}\""))).unwrap();
    let log = log.path().display().to_string();
    let page = tempfile::NamedTempFile::new().unwrap();
    let path = page.path().display().to_string();
    let some = ["posture", "--control", "WL-1", "--control", "WL-9", "--format"];
    let html = ["html", "--output", &path, "--fail-on", "fail", &log];
    let ended = run(some.iter().chain(&html));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let page = std::fs::read_to_string(page.path()).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("&lt;script&gt;alert(1)"), "the hostile name is in it");
    for never in ["<script", "\u{1b}", "\u{202e}", "\u{0}", "http://", "src="] {
        assert!(!page.contains(never), "{never:?}");
    }
    let ended = run(some.iter().chain(&["table", &log]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains(['\u{1b}', '\u{202e}', '\u{0}']));
    for (arguments, expected) in [
        (&["--control", "WL-99"][..], "no control `WL-99`"),
        (&["--set", "x=y"], "nothing is called `x`"),
        (&["--since", "yesterday"], "--since"),
        (&["--policy", "Cargo.toml"], "audit policy"),
    ] {
        let ended = run(["posture"].iter().chain(arguments).copied().chain([log.as_str()]));
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_server_answers_as_files_do() {
    let server = TestServer::start("");
    let body = std::fs::read_to_string(repository(FAILING)).unwrap();
    let sent = server.client().post(server.url("/v1/audit")).body(body).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let deadline = std::time::Instant::now() + super::program::LIMIT;
    let of_server = ["--control", "WL-1", "--control", "RBAC-2", "--control", "API-1"];
    let address = server.url("");
    let asked = [&of_server[..], &["--url", &address]].concat();
    let lines = loop {
        let (posture, lines) = posture(&asked);
        if posture["events"].as_u64() >= Some(60) || std::time::Instant::now() > deadline {
            break lines;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let failing = file(FAILING);
    let (_, of_files) = posture(&[&of_server[..], &[&failing]].concat());
    for (id, line) in &of_files {
        for member in ["verdict", "seen", "failing", "evidence", "first_failing"] {
            let (mut here, mut there) = (line[member].clone(), lines[id][member].clone());
            for row in [&mut here, &mut there].into_iter().filter_map(Value::as_array_mut).flatten()
            {
                row.as_object_mut().unwrap().remove("cluster");
            }
            assert_eq!(here, there, "{id}: {member}");
        }
    }
}
