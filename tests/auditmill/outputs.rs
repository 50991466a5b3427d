//! What the main commands print, as a whole: a change of it is seen where it is reviewed.
//!
//! Over recordings, whose times never change. What is of the moment is taken out, of long lists a
//! few lines are kept: a detection that is added changes nothing here.

use serde_json::Value;

use super::events::{list, repository};
use super::incidents::attack;
use super::program::run;
use super::server::TestServer;

fn file(path: &str) -> String {
    repository(path).display().to_string()
}

/// What a command prints when all is well, or the answer is no.
fn printed(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert!(matches!(ended.code, Some(0 | 1)), "{arguments:?}: {}", ended.stderr);
    let root = repository("").display().to_string();
    ended.stdout.replace(root.trim_end_matches('/'), "ROOT")
}

/// The lines that one of these words is in; how wide columns are, others decide.
fn lines_with(text: &str, words: &[&str]) -> String {
    let is_kept = |line: &&str| words.iter().any(|word| line.contains(word));
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().filter(is_kept).map(squeezed).collect::<Vec<_>>().join("\n")
}

fn pretty(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    if let Some(at) = value.get_mut("at") {
        *at = "NOW".into();
    }
    let controls = value.get_mut("controls").and_then(Value::as_array_mut);
    for control in controls.into_iter().flatten() {
        control["detections"].as_array_mut().unwrap().truncate(1);
    }
    serde_json::to_string_pretty(&value).unwrap()
}

const CONTROLS: [&str; 6] = ["--control", "RBAC-2", "--control", "SEC-1", "--control", "SEC-2"];

#[test]
fn a_posture_as_a_table() {
    let log = file("testdata/events/hardening/failing.jsonl");
    insta::assert_snapshot!(printed(&[&["posture"], &CONTROLS[..], &[&log]].concat()));
}

#[test]
fn a_posture_as_json() {
    let log = file("testdata/events/hardening/passing.jsonl");
    let told = printed(&[&["posture", "--format", "json"], &CONTROLS[..], &[&log]].concat());
    insta::assert_snapshot!(pretty(&told));
}

#[test]
fn a_policy_that_is_checked() {
    let told = printed(&["policy", "check", &file("deployments/audit-policy-lean.yaml")]);
    insta::assert_snapshot!(lines_with(&told, &["K8A-501", "K8A-505", "WL-1 ", "IMG-1"]));
}

#[test]
fn a_policy_that_is_checked_as_json() {
    let lean = file("deployments/audit-policy-lean.yaml");
    let told = printed(&["policy", "check", "--format", "json", &lean]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let never = told["never"].as_array().unwrap();
    let kept: Vec<&Value> =
        never.iter().filter(|one| one["id"] == "K8A-501" || one["id"] == "WL-1").collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&kept).unwrap());
}

#[test]
fn a_report_as_a_table() {
    let log = file("testdata/events/apiserver/exec.jsonl");
    insta::assert_snapshot!(printed(&["report", "exec-sessions", &log]));
}

#[test]
fn a_report_as_json() {
    let log = file("testdata/events/apiserver/exec.jsonl");
    let told = printed(&["report", "exec-sessions", "--format", "json", &log]);
    insta::assert_snapshot!(pretty(&told));
}

#[test]
fn a_role_that_is_suggested() {
    let log = file("testdata/events/apiserver/privileged_pod.jsonl");
    insta::assert_snapshot!(printed(&["rbac", "suggest", "--user", "mallory", &log]));
}

#[test]
fn detections_that_are_listed() {
    let told = printed(&["detections", "list"]);
    insta::assert_snapshot!(lines_with(&told, &["K8A-118", "K8A-128", "K8A-205", " id "]));
}

#[test]
fn a_backtest_as_a_table() {
    let log = file("testdata/events/apiserver/exec.jsonl");
    let wanted = ["backtest", "--detection", "K8A-401", &log];
    insta::assert_snapshot!(printed(&wanted));
}

#[tokio::test]
async fn incidents_as_people_see_them() {
    let server = TestServer::start("");
    let events: Vec<Value> = ["alice", "mallory"].into_iter().flat_map(attack).collect();
    assert_eq!(server.post("east", list(&events)).await, 200);
    server.quiesce().await;
    let url = server.url("");
    let mallory = "SELECT id FROM incidents WHERE actors LIKE '%mallory%'";
    let row = server.sql(mallory).await;
    let id = row[0]["id"].as_str().unwrap().to_owned();
    let worked_on = ["--ack", "--assign", "bob", "--comment", "looking", "--by", "bob"];
    printed(&[&["triage", &id], &worked_on[..], &["--url", &url]].concat());
    // When people did something is of the moment.
    let told = |arguments: &[&str]| -> String {
        let text = printed(&[arguments, &["--url", &url]].concat());
        let line = |line: &str| match line.split_once(" bob ") {
            Some((time, done)) if time.starts_with("20") => format!("NOW bob {done}"),
            // Some time from now.
            _ if line.starts_with("  expires: ") => "  expires: LATER".to_owned(),
            _ => line.to_owned(),
        };
        let line = |text: &str| line(text).trim_end().to_owned();
        text.replace(&url, "URL").lines().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("incidents_that_are_listed", told(&["incidents", "list"]));
    insta::assert_snapshot!("an_incident_that_is_shown", told(&["incidents", "show", &id]));
}
