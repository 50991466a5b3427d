//! Detections that ask for too much are limited and named, and the others go on.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::events::{exec, list, read};
use super::program::{LIMIT, run};
use super::server::TestServer;

/// Every event with every other, six times over: it would not end.
const JOIN: &str = "/*
id: GREEDY-JOIN
title: All with all
key: [user_name]
severity: low
window: 10m
describe: \"{{user_name}} {{n}}\"
*/
SELECT a.user_name, count(*) AS n FROM events a, events b, events c, events d, events e, events f
WHERE a.verb = 'get' AND b.verb = 'get' AND c.verb = 'get' AND d.verb = 'get'
  AND e.verb = 'get' AND f.verb = 'get' AND e.name <> f.name AND a.name <> b.name
  AND b.name <> c.name AND c.name <> d.name
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

/// Waits until it has failed.
async fn named(server: &TestServer, detection: &str) {
    let deadline = Instant::now() + LIMIT;
    while faults(server, detection).await == 0.0 {
        assert!(Instant::now() < deadline, "{detection} is never named");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    // Nothing waited for it: it is stopped later.
    named(&server, "GREEDY-JOIN").await;
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

/// Each keeps something of every event in a way of its own.
const ENDLESS: [(&str, &str); 6] = [
    ("EACH", "key: [audit_id]\n*/ SELECT audit_id FROM events WHERE verb = 'get'"),
    (
        "FIRST",
        "first_seen: {key: [audit_id], lookback: 1h, learn: 1s}\n*/
         SELECT audit_id FROM events WHERE verb = 'get'",
    ),
    (
        "ABSENT",
        "absent: {key: [audit_id], for: 1s}\n*/ SELECT audit_id FROM events WHERE verb = 'get'",
    ),
    (
        "ODD",
        "key: [audit_id]\nwindow: 10m\n*/ SELECT DISTINCT audit_id, verb FROM events
         WHERE verb = 'get'",
    ),
    (
        "LIST",
        "window: 10m\n*/ SELECT user_name, array_agg(DISTINCT request_uri) AS all_of_them
         FROM events GROUP BY user_name",
    ),
    (
        "CHAIN",
        "window: 10m\nover: findings\nkey: [name]\n*/ SELECT key AS name FROM findings
         WHERE detection = 'GREEDY-EACH'",
    ),
];

#[tokio::test]
async fn state_of_any_kind_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    for (name, rest) in ENDLESS {
        let front = format!("id: GREEDY-{name}\ntitle: t\nseverity: low\ndescribe: d\n{rest}");
        std::fs::write(dir.path().join(format!("{name}.sql")), format!("/*\n{front}\n")).unwrap();
    }
    let server = start(dir.path(), "state.sql", STATE);
    for round in 0..4 {
        let events: Vec<Value> = (0..1_500).map(|number| read(round * 1_500 + number)).collect();
        the_others_find(&server, &events, round).await;
        for (name, _) in ENDLESS {
            let name = format!("auditmill_detection_state_bytes{{detection=\"GREEDY-{name}\"}}");
            let bytes = server.metric(&name).await;
            assert!(bytes < 2_000_000.0, "{name} is {bytes} bytes of a MiB");
        }
    }
    // The others are asked when a window ends, and may rest: how many did is the machine's affair.
    for name in ["EACH", "FIRST", "ABSENT"] {
        let incomplete = format!(
            "SELECT count(*) FROM findings WHERE incomplete AND detection = 'GREEDY-{name}'"
        );
        assert!(server.number(&incomplete).await > 0, "{name}: what may miss something says so");
    }
}

/// Rows without end, made of nothing.
const SERIES: &str = "/*
id: GREEDY-SERIES
title: Numbers
key: [user_name]
severity: low
window: 10m
describe: \"{{user_name}} {{n}}\"
*/
SELECT user_name, sum(s.value) AS n FROM events, generate_series(1, 1000000000000) AS s
WHERE verb = 'get' GROUP BY user_name
";

#[tokio::test]
async fn rows_without_end_are_stopped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), "series.sql", SERIES);
    // Some windows are over.
    let events: Vec<Value> = (0..10).map(|number| read(number * 200)).collect();
    the_others_find(&server, &events, 1).await;
    named(&server, "GREEDY-SERIES").await;
    assert!(server.log().contains("GREEDY-SERIES"), "it is named in the log");
}

/// A pattern that is small as a text and large as a machine.
const PATTERN: &str = "/*
id: GREEDY-PATTERN
title: Pattern
key: [user_name]
severity: low
describe: \"{{user_name}}\"
*/
SELECT user_name FROM events WHERE request_uri ~ '((((a{1,99}){1,99}){1,99}){1,99}){1,99}'
";

/// Patterns are what clients send.
const CHOSEN: &str = "/*
id: GREEDY-CHOSEN
title: Chosen
key: [user_name]
severity: low
describe: \"{{user_name}}\"
*/
SELECT user_name FROM events WHERE verb = 'get' AND request_uri ~ user_agent
";

#[tokio::test]
async fn patterns_that_are_too_large_are_refused_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let (dir_text, file) = (dir.path().display().to_string(), dir.path().join("pattern.sql"));
    std::fs::write(&file, PATTERN).unwrap();
    let log = dir.path().join("a.log");
    std::fs::write(&log, read(1).to_string()).unwrap();
    let ended =
        run(["backtest".to_owned(), "--dir".to_owned(), dir_text, log.display().to_string()]);
    assert_eq!(ended.code, Some(2), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("pattern.sql"), "{}", ended.stderr);
    assert!(ended.stderr.contains("exceeds size limit"), "{}", ended.stderr);
    std::fs::remove_file(&file).unwrap();
    let server = start(dir.path(), "chosen.sql", CHOSEN);
    let hostile = |number: u32| {
        let mut event = read(number);
        event["userAgent"] = json!(format!("(((((a{{1,99}}){{1,99}}){{1,99}}){{1,99}}){number}"));
        event
    };
    let events: Vec<Value> = (0..500).map(hostile).collect();
    the_others_find(&server, &events, 1).await;
    assert!(faults(&server, "GREEDY-CHOSEN").await >= 1.0);
}
