//! Why an event was found, or was not: of files, of a data directory, of a server.

use serde_json::{Value, json};

use super::events::{exec, list, read, secret};
use super::program::{Ended, run};
use super::server::TestServer;

const EXCEPTIONS: &str = "- name: mallory may
  detection: K8A-401
  condition: user_name = 'mallory'
  owner: platform
  reason: a drill
  expires: 2199-01-01
";

const OTHER: &str = "/*
id: K8A-401
title: another
severity: low
key: [name]
describe: \"{{name}}\"
*/
SELECT name FROM events WHERE subresource = 'exec'
";

fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let events = [secret(1), read(60), exec(90)].map(|event| event.to_string());
    let path = dir.path().join("a.log");
    std::fs::write(&path, events.join("\n") + "\n").unwrap();
    let path = path.display().to_string();
    (dir, path)
}

#[test]
fn people_read_what_matched_and_what_was_near() {
    let (_dir, log) = log();
    let ended = run(["explain", "exec-90", &log]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (event, told) = ended.stdout.split_once('\n').unwrap();
    let event: Vec<&str> = event.split(' ').collect();
    assert_eq!(event[..3], ["2026-03-01T00:01:30.000000Z", "default", "ResponseStarted"]);
    insta::assert_snapshot!(told, @r"
    matched      K8A-401  Command run inside a pod
      key      user_name = mallory, namespace = dev, name = p90
      bucket   [2026-03-01T00:00:00.000000Z, 2026-03-01T01:00:00.000000Z)
    not matched  K8A-101  Anonymous request allowed
      false    user_name = 'system:anonymous' OR has_group(user_groups, 'system:unauthenticated')
    7 other detections are further off: `--all` tells of them
    ");
    let ended = run(["explain", "--detection", "K8A-205", "secret-1", &log]);
    let (_, told) = ended.stdout.split_once('\n').unwrap();
    insta::assert_snapshot!(told, @r"
    matched      K8A-205  One identity reads many secrets
      key      user_name = alice, source_ip = 10.0.0.1
      bucket   [2026-03-01T00:00:00.000000Z, 2026-03-01T01:00:00.000000Z)
      window   [2026-02-28T23:51:00.000000Z, 2026-03-01T00:01:00.000000Z)
      window   [2026-02-28T23:52:00.000000Z, 2026-03-01T00:02:00.000000Z)
      window   [2026-02-28T23:53:00.000000Z, 2026-03-01T00:03:00.000000Z)
      window   [2026-02-28T23:54:00.000000Z, 2026-03-01T00:04:00.000000Z)
      window   [2026-02-28T23:55:00.000000Z, 2026-03-01T00:05:00.000000Z)
      window   [2026-02-28T23:56:00.000000Z, 2026-03-01T00:06:00.000000Z)
      window   [2026-02-28T23:57:00.000000Z, 2026-03-01T00:07:00.000000Z)
      window   [2026-02-28T23:58:00.000000Z, 2026-03-01T00:08:00.000000Z)
      window   [2026-02-28T23:59:00.000000Z, 2026-03-01T00:09:00.000000Z)
      window   [2026-03-01T00:00:00.000000Z, 2026-03-01T00:10:00.000000Z)
      reaches  found in a window with count(DISTINCT namespace || '/' || name) >= 15
    ");
}

#[test]
fn machines_read_every_condition() {
    let (_dir, log) = log();
    let told = lines(&run(["explain", "--format", "json", "--all", "read-60", &log]));
    assert!(told.len() >= 9);
    let failed = |line: &Value| {
        let conditions = line["conditions"].as_array().unwrap();
        conditions.iter().filter(|condition| condition["is"] != "true").count()
    };
    assert!(told.is_sorted_by_key(failed), "the nearest come first");
    assert!(told.iter().all(|line| line["verdict"] == "not matched" && failed(line) > 0));
    let near = lines(&run(["explain", "--format", "json", "read-60", &log]));
    let all = |line: &Value| line["conditions"].as_array().unwrap().len();
    let near_to = |line: &&Value| failed(line) <= 2 && failed(line) < all(line);
    let expected: Vec<&Value> = told.iter().filter(near_to).collect();
    assert!(!expected.is_empty() && near.iter().eq(expected), "{near:?}");
}

#[test]
fn what_is_exempt_names_its_exception() {
    let (dir, log) = log();
    std::fs::write(dir.path().join("exceptions.yaml"), EXCEPTIONS).unwrap();
    let dir = dir.path().display().to_string();
    let told = lines(&run(["explain", "--format", "json", "--dir", &dir, "exec-90", &log]));
    assert_eq!(told[0]["detection"], "K8A-401");
    assert_eq!(told[0]["verdict"], "exempted");
    assert_eq!(told[0]["exception"], "mallory may");
    // What is told to be hidden is hidden.
    let scan = |more: &[&str]| run(["scan", &log].iter().chain(more)).stdout.contains("K8A-401");
    assert_eq!([scan(&[]), scan(&["--detections", &dir])], [true, false]);
    let text = run(["explain", "--dir", &dir, "exec-90", &log]).stdout;
    assert!(text.contains("hidden by the exception `mallory may`"), "{text}");
}

#[test]
fn what_is_not_there_is_an_answer() {
    let (_dir, log) = log();
    let ended = run(["explain", "nobody's", &log]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "no event has the audit id `nobody's`\n");
    let ended = run(["explain", "--detection", "K8A-999", "exec-90", &log]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no detection `K8A-999`"), "{}", ended.stderr);
    let ended = run(["explain", "exec-90", "/nowhere/a.log"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("read `/nowhere/a.log`"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_and_its_data_say_what_a_file_says() {
    let (dir, log) = log();
    let expected = lines(&run(["explain", "--format", "json", "--all", "exec-90", &log]));
    let data = dir.path().join("data");
    let mut server = TestServer::start_over(&data, "");
    assert_eq!(server.post("default", list(&[exec(90), read(1)])).await, 200);
    server.quiesce().await;
    let url = server.url("");
    let ask = |more: &[&str]| {
        let fixed = ["explain", "--format", "json", "--all"];
        lines(&run(fixed.iter().chain(more).chain(&["exec-90"])))
    };
    // What was found is known to a server and its data alone.
    let found = |lines: &[Value]| -> Vec<Value> {
        let found = lines.iter().filter(|line| line["verdict"] == "matched");
        found.flat_map(|line| line["findings"].as_array().unwrap().clone()).collect()
    };
    let without = |lines: &[Value]| -> Vec<Value> {
        let mut lines = lines.to_vec();
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("findings");
        }
        lines
    };
    let asked = ask(&["--url", &url]);
    assert_eq!(without(&asked), expected);
    let findings = server.findings("detection=K8A-401").await;
    let told = [json!({"id": findings[0]["id"], "status": "open", "count": 1})];
    assert_eq!((findings.len(), found(&asked)), (1, told.to_vec()));
    let text = run(["explain", "--url", &url, "exec-90"]).stdout;
    let id = findings[0]["id"].as_str().unwrap();
    assert!(text.contains(&format!("  finding  {id}, open, 1 events")), "{text}");
    // A detection of another text here is told of, and judged all the same.
    std::fs::write(dir.path().join("own.sql"), OTHER).unwrap();
    let dir = dir.path().display().to_string();
    let other = ask(&["--url", &url, "--dir", &dir, "--detection", "K8A-401"]);
    assert_eq!(other[0]["on_server"], "the server runs another text of it");
    assert_eq!((&other[0]["verdict"], &other[0]["findings"]), (&json!("matched"), &json!([])));
    let ended = run(["explain", "--url", &url, "x' OR '1' = '1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    server.stop();
    let data = data.display().to_string();
    let asked = ask(&["--data", &data]);
    assert_eq!((without(&asked), found(&asked)), (expected, told.to_vec()));
}
