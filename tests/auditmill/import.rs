//! Old logs, put into the history once, whatever ends the import.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use super::durability::rounds;
use super::events::{exec, list, read, recorded_lines, secret};
use super::program::{Ended, LIMIT, program, run, run_with_input};
use super::proof::verified;
use super::server::TestServer;

/// A data folder and the logs beside it.
struct Logs {
    dir: tempfile::TempDir,
}

impl Logs {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let data = self.data().display().to_string();
        let fixed = ["history", "import", "--json", "--cluster", "old", "--data", &data];
        fixed.iter().chain(more).map(|text| (*text).to_owned()).collect()
    }

    /// Imports; gives the summary.
    fn import(&self, more: &[&str]) -> Value {
        summary(&run(self.arguments(more)))
    }
}

fn summary(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("the summary is JSON")
}

/// What the summary says of events and files.
fn counts(summary: &Value) -> [i64; 5] {
    ["stored", "already_there", "unreadable", "files", "files_known"]
        .map(|name| summary[name].as_i64().unwrap())
}

fn lines(events: impl IntoIterator<Item = Value>) -> String {
    events.into_iter().fold(String::new(), |text, event| text + &event.to_string() + "\n")
}

#[tokio::test]
async fn logs_of_every_form_come_in_once() {
    let logs = Logs::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all((lines((1..=50).map(secret)) + "{\"no\": event\n").as_bytes()).unwrap();
    let first = logs.write("1.log.gz", &gzip.finish().unwrap());
    let overlapping = lines((40..=60).map(secret));
    let second = zstd::encode_all(overlapping.as_bytes(), 1).unwrap();
    let second = logs.write("2.log.zst", &second);
    let whole: Value = serde_json::from_str(&list(&[read(1), exec(2), read(1)])).unwrap();
    let third = logs.write("3.json", serde_json::to_string_pretty(&whole).unwrap().as_bytes());
    let files = [first.as_str(), &second, &third];
    assert_eq!(counts(&logs.import(&files)), [62, 12, 1, 3, 0]);
    assert_eq!(counts(&logs.import(&files)), [0, 0, 0, 0, 3]);
    // A log under another name is known; one that has grown is read, and its events are.
    let renamed = logs.write("4.log", &std::fs::read(&second).unwrap());
    let grown = logs.write("5.log", (overlapping + &lines([secret(61)])).as_bytes());
    assert_eq!(counts(&logs.import(&[&renamed, &grown])), [1, 21, 0, 1, 1]);
    let input = lines([secret(61), secret(62)]);
    let piped = run_with_input(logs.arguments(&["-"]), input.as_bytes());
    assert_eq!(counts(&summary(&piped)), [1, 1, 0, 1, 0]);
    // Another cluster's events are others.
    let data = logs.data().display().to_string();
    let other = run(["history", "import", "--json", "--data", &data, &grown]);
    assert_eq!(counts(&summary(&other)), [22, 0, 0, 1, 0]);

    let mut server = TestServer::start_over(&logs.data(), "[history]\nkeep = \"0s\"\n");
    let all = "SELECT count(*) FROM events WHERE cluster = 'old' AND source = 'file'";
    assert_eq!(server.number(all).await, 64);
    let different = "SELECT count(DISTINCT event_id) FROM events WHERE cluster = 'old'";
    assert_eq!(server.number(different).await, 64);
    let pieces = "SELECT count(*) FROM quarantine WHERE cluster = 'old'";
    assert_eq!(server.number(pieces).await, 1);
    let counted = "SELECT CAST(sum(count) AS BIGINT) FROM ledger WHERE kind = 'quarantined'";
    assert_eq!(server.number(counted).await, 1);
    // Years of old events are no news: nothing fires on them, now or after the next delivery.
    assert_eq!(server.post("old", secret(100).to_string()).await, 200);
    server.quiesce().await;
    assert_eq!(server.number("SELECT count(*) FROM findings").await, 0);
    server.kill_and_restart();
    server.quiesce().await;
    assert_eq!(server.number("SELECT count(*) FROM findings").await, 0);
    assert_eq!(server.number("SELECT count(*) FROM events WHERE cluster = 'old'").await, 65);
    assert_eq!(server.number(all).await, 64);
}

/// A log of several chunks, of 400 events.
fn large_log() -> String {
    let filling: String = recorded_lines().concat().chars().take(60_000).collect();
    lines((0..400).map(|number| {
        let mut event = read(number);
        event["requestObject"] = json!({ "spec": filling, "number": number });
        event
    }))
}

#[tokio::test]
async fn an_import_goes_on_where_it_was_killed() {
    let logs = Logs::new();
    let log = large_log();
    let total = log.len() as u64;
    let log = logs.write("large.log", log.as_bytes());
    let config =
        logs.write("auditmill.toml", b"[history]\nflush_bytes = \"1MiB\"\nkeep = \"0s\"\n");
    let arguments = logs.arguments(&["--config", &config, &log]);
    for fault in ["import_file:1", "import_committed:1", "import_file:1", "import_committed:1"] {
        let ended = program().args(&arguments).env("AUDITMILL_FAULT", fault).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("fault point import_"), "{fault}: {said}");
        verified(&logs.data());
    }
    let rest = summary(&run(&arguments));
    let (stored, read) = (rest["stored"].as_i64().unwrap(), rest["bytes"].as_u64().unwrap());
    assert!(stored > 0 && stored < 400 && read < total, "it began again: {rest}");
    assert_eq!(rest["already_there"], 0, "{rest}");
    assert_eq!(verified(&logs.data())["rows"], 400);
    let third = summary(&run(&arguments));
    assert_eq!((counts(&third), &third["bytes"]), ([0, 0, 0, 0, 1], &json!(0)));

    let server = TestServer::start_over(&logs.data(), "[history]\nkeep = \"0s\"\n");
    let question = "SELECT count(*) * 1000 + count(DISTINCT audit_id) FROM events";
    assert_eq!(server.number(question).await, 400_400);
}

#[tokio::test]
async fn an_import_survives_kill_9_at_any_moment() {
    let logs = Logs::new();
    let log = logs.write("large.log", large_log().as_bytes());
    let config =
        logs.write("auditmill.toml", b"[history]\nflush_bytes = \"1MiB\"\nkeep = \"0s\"\n");
    let arguments = logs.arguments(&["--config", &config, &log]);
    // So many files are in the history, whether its log knows them or not.
    let files = || {
        let parts = logs.data().join("history/cluster=old");
        let days = std::fs::read_dir(parts).into_iter().flatten().flatten();
        days.flat_map(|day| std::fs::read_dir(day.path()).into_iter().flatten()).count()
    };
    let mut killed = 0;
    for round in 0..rounds() {
        let enough = files() + round as usize % 3;
        let mut child = program().args(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        while files() <= enough && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::yield_now();
        }
        let _ = child.kill();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
    }
    assert!(killed > 0, "it was always done before");
    let rest = summary(&run(&arguments));
    assert!(rest["stored"].as_i64().unwrap() < 400, "it began again: {rest}");
    let server = TestServer::start_over(&logs.data(), "[history]\nkeep = \"0s\"\n");
    let question = "SELECT count(*) * 1000 + count(DISTINCT audit_id) FROM events";
    assert_eq!(server.number(question).await, 400_400);
}

#[tokio::test]
async fn nobody_else_may_use_the_history_meanwhile() {
    let logs = Logs::new();
    let log = logs.write("1.log", lines([read(1)]).as_bytes());
    let settings = "[history]\nflush_after = \"1h\"\n";
    let mut server = TestServer::start_over(&logs.data(), settings);
    let refused = |why: &str| {
        let ended = run(logs.arguments(&[&log]));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    refused("is in use by another process: stop that");
    assert_eq!(server.post("old", read(1).to_string()).await, 200);
    server.quiesce().await;
    drop(server);
    refused("1 records that are not in its history yet: start `auditmill serve`");
    server = TestServer::start_over(&logs.data(), settings);
    server.stop();
    assert_eq!(counts(&logs.import(&[&log])), [0, 1, 0, 1, 0]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let logs = Logs::new();
    let mut gzip = zstd::encode_all(large_log().as_bytes(), 1).unwrap();
    gzip.truncate(gzip.len() - 10);
    let damaged = logs.write("damaged.zst", &gzip);
    let check = |more: &[&str], why: &str| {
        let ended = run(logs.arguments(more));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    check(&["/nowhere/1.log"], "read `/nowhere/1.log`: No such file");
    let folder = logs.dir.path().display().to_string();
    check(&[&folder], "is a folder");
    check(&["--format", "xml", &damaged], "unknown format `xml`; known are");
    assert!(!Path::new(&logs.data()).exists(), "nothing was begun");
    check(&[&damaged], "damaged.zst`");
}
