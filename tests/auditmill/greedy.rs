//! Detections that ask for too much are limited and named, and the others go on.

use std::path::Path;

use serde_json::{Value, json};

use super::events::{exec, list, read};
use super::server::TestServer;

/// Every event with every other, four times over: it would not end.
const JOIN: &str = "/*
id: GREEDY-JOIN
title: All with all
key: [user_name]
severity: low
window: 10m
describe: \"{{user_name}} {{n}}\"
*/
SELECT a.user_name, count(*) AS n FROM events a, events b, events c, events d
WHERE a.verb = 'get' AND b.verb = 'get' AND c.verb = 'get' AND d.verb = 'get'
  AND a.name <> b.name AND b.name <> c.name AND c.name <> d.name
GROUP BY a.user_name
";

/// Takes time in the square of a text's length.
const ROWS: &str = "/*
id: GREEDY-ROWS
title: Far from itself
severity: low
key: [user_name]
describe: \"{{user_name}} {{request_uri}}\"
*/
SELECT user_name, request_uri FROM events
WHERE levenshtein(request_uri, reverse(request_uri)) = 1
";

/// Keeps something of every event.
const STATE: &str = "/*
id: GREEDY-STATE
title: Each by itself
severity: low
window: 1h
describe: \"{{audit_id}} {{n}}\"
*/
SELECT audit_id, count(*) AS n FROM events GROUP BY audit_id HAVING count(*) > 1000000
";

fn start(dir: &Path, name: &str, text: &str) -> TestServer {
    std::fs::write(dir.join(name), text).unwrap();
    TestServer::start(&format!("[detect]\ndir = \"{}\"\nbuffer = \"1MiB\"\n", dir.display()))
}

async fn faults(server: &TestServer, detection: &str) -> f64 {
    let name = format!("auditmill_detect_faults_total{{detection=\"{detection}\"}}");
    server.metric(&name).await
}

/// Delivers these, then one exec that must be found.
async fn the_others_find(server: &TestServer, events: &[Value], number: u32) {
    assert_eq!(server.post("east", list(events)).await, 200);
    assert_eq!(server.post("east", list(&[exec(number)])).await, 200);
    server.quiesce().await;
    let found = server.findings("detection=K8A-401").await;
    let last = exec(number)["auditID"].clone();
    let is_there = |finding: &Value| {
        finding["evidence"].as_array().unwrap().iter().any(|event| event["audit_id"] == last)
    };
    assert!(found.iter().any(is_there), "exec {number} is not found: {found:?}");
}

#[tokio::test]
async fn a_join_without_end_is_stopped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), "join.sql", JOIN);
    let events: Vec<Value> = (0..2_000).map(read).collect();
    the_others_find(&server, &events, 1).await;
    assert!(faults(&server, "GREEDY-JOIN").await >= 1.0);
    assert!(server.log().contains("GREEDY-JOIN"), "it is named in the log");
    // It rests now: what follows does not wait for it again.
    let before = faults(&server, "GREEDY-JOIN").await;
    for round in 0..5 {
        let events: Vec<Value> = (0..10).map(|n| read(3_000 + round * 10 + n)).collect();
        the_others_find(&server, &events, 2 + round).await;
    }
    assert!(faults(&server, "GREEDY-JOIN").await <= before + 1.0);
}

#[tokio::test]
async fn a_condition_that_takes_all_the_time_is_set_aside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), "rows.sql", ROWS);
    let long = |number: u32| {
        let mut event = read(number);
        event["requestURI"] = json!(format!("/{number}/{}", "long".repeat(1_500)));
        event
    };
    let mut number = 0;
    while faults(&server, "GREEDY-ROWS").await == 0.0 {
        assert!(number < 4_000, "it is never set aside");
        let events: Vec<Value> = (number..number + 20).map(long).collect();
        number += 20;
        the_others_find(&server, &events, number).await;
    }
    server.logged("it judges no events", 1);
    // Judged, each of them would take as long as the first.
    let rows = server.metric("auditmill_detection_busy_seconds{detection=\"GREEDY-ROWS\"}").await;
    let events: Vec<Value> = (number..number + 200).map(long).collect();
    the_others_find(&server, &events, number + 200).await;
    let after = server.metric("auditmill_detection_busy_seconds{detection=\"GREEDY-ROWS\"}").await;
    assert!(after - rows < 1e-9, "it went on: {rows} s, then {after} s");
}

#[tokio::test]
async fn state_without_end_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), "state.sql", STATE);
    for round in 0..5 {
        let events: Vec<Value> = (0..4_000).map(|number| read(round * 4_000 + number)).collect();
        the_others_find(&server, &events, round).await;
        let name = "auditmill_detection_state_bytes{detection=\"GREEDY-STATE\"}";
        let bytes = server.metric(name).await;
        assert!(bytes < 1_500_000.0, "{bytes} bytes of a MiB");
    }
}
