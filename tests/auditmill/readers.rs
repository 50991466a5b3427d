//! Other programs read the history: `DuckDB`, the Python package `deltalake` (and pandas through
//! it), Polars, Spark.
//!
//! They need `AUDITMILL_READERS`, the Python environment that `tests/readers/build.sh` sets up;
//! without it the test passes without looking.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::events::{list, read, repository};
use super::program::LIMIT;
use super::server::TestServer;

/// So many flushes, each with its files: enough small ones that they are joined.
const FLUSHES: u32 = 10;
/// Types as `DuckDB` names them; every other column is text.
const TYPES: [(&str, &str); 7] = [
    ("event_time", "TIMESTAMP WITH TIME ZONE"),
    ("request_time", "TIMESTAMP WITH TIME ZONE"),
    ("ingest_time", "TIMESTAMP WITH TIME ZONE"),
    ("response_code", "INTEGER"),
    ("truncated", "BOOLEAN"),
    ("conflict", "BOOLEAN"),
    ("day", "DATE"),
];

#[tokio::test]
async fn others_read_what_was_written() {
    let Some(environment) = env::var_os("AUDITMILL_READERS").map(PathBuf::from) else {
        assert!(env::var_os("CI").is_none(), "AUDITMILL_READERS is not set, but CI is");
        println!("skipped: AUDITMILL_READERS is not set (tests/readers/build.sh sets it up)");
        return;
    };
    let mut server = TestServer::start("[history]\nflush_after = \"10ms\"\n");
    for flush in 0..FLUSHES {
        for cluster in ["east", "west"] {
            assert_eq!(server.post(cluster, list(&events(flush, cluster))).await, 200);
        }
        wait_for_rows(&server, f64::from((flush + 1) * 40)).await;
    }
    let table = server.data().join("history");
    wait_until_files_are_joined(&table).await;
    let expected = ask(&server).await;
    let columns = server.sql("SELECT * FROM events LIMIT 1").await;
    check(&read_with(&environment, &table), &expected, &columns[0]);
    // Once more with all of it at rest, as it would be copied.
    server.stop();
    check(&read_with(&environment, &table), &expected, &columns[0]);
    assert_eq!(read_with_spark(&environment, &table), expected, "Spark");
}

/// Twenty events, on two days.
fn events(flush: u32, cluster: &str) -> Vec<Value> {
    let event = |number: u32| {
        let mut event = read(number);
        event["user"]["username"] = json!(format!("user-{}-{}", cluster, number % 7));
        event["requestObject"] =
            json!({"kind": "ConfigMap", "data": {"ä": "\u{1F980}\n", "n": number}});
        // East has all event numbers, west starts behind them: an audit id is in one of them.
        if cluster == "west" {
            event["auditID"] = json!(format!("west-{number}"));
        }
        if number % 2 == 1 {
            event["stageTimestamp"] = json!(format!("2026-03-02T00:00:00.{number:06}Z"));
        }
        event
    };
    (flush * 20..flush * 20 + 20).map(event).collect()
}

async fn wait_for_rows(server: &TestServer, rows: f64) {
    let deadline = Instant::now() + LIMIT;
    while server.metric("auditmill_history_rows_total").await < rows {
        assert!(Instant::now() < deadline, "less than {rows} rows:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Of each cluster and day, eight small files become one as soon as nothing else is to be done.
async fn wait_until_files_are_joined(table: &Path) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let log = fs::read_dir(table.join("_delta_log")).unwrap();
        let commits = log.map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default());
        if commits.filter(|commit| commit.contains("{\"remove\"")).count() >= 4 {
            return;
        }
        assert!(Instant::now() < deadline, "files were never joined");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The program's own answers, in the form of `tests/readers/read.py`.
async fn ask(server: &TestServer) -> Value {
    let counts = server
        .sql(
            "SELECT cluster, CAST(CAST(event_time AS DATE) AS TEXT) AS day, count(*) AS n \
             FROM events GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .await;
    let counts = counts.as_array().unwrap().iter();
    let counts: Vec<Value> =
        counts.map(|row| json!([row["cluster"], row["day"], row["n"]])).collect();
    assert_eq!(counts.len(), 4, "two clusters, two days: {counts:?}");
    let users = server.number("SELECT count(DISTINCT user_name) FROM events").await;
    let row = "SELECT request_object, CAST(event_time AS BIGINT) AS time FROM events \
               WHERE audit_id = 'read-7'";
    let row = server.sql(row).await;
    json!({
        "counts": counts,
        "users": users,
        "body": row[0]["request_object"],
        "time": row[0]["time"],
    })
}

fn read_with(environment: &Path, table: &Path) -> Value {
    run(environment, "tests/readers/read.py", &[table])
}

/// Spark is Java, and started for itself: it takes a while.
fn read_with_spark(environment: &Path, table: &Path) -> Value {
    run(environment, "tests/readers/spark.py", &[&environment.join("jars"), table])
}

fn run(environment: &Path, script: &str, arguments: &[&Path]) -> Value {
    let mut python = Command::new(environment.join("bin/python"));
    let output = python.arg(repository(script)).args(arguments).output().expect("run Python");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("its output is JSON")
}

fn check(seen: &Value, expected: &Value, row: &Value) {
    let readers = seen["readers"].as_object().unwrap();
    assert_eq!(readers.len(), 5);
    for (reader, answers) in readers {
        assert_eq!(answers, expected, "{reader}");
    }
    assert!(expected["body"].as_str().unwrap().contains('\u{1F980}'), "{expected}");
    let files = seen["files"].as_u64().unwrap();
    assert!(files < u64::from(FLUSHES) * 4, "nothing was joined: {files} files");
    // Files have, beside the table's columns, with which commit a row came, and as which.
    for own in ["_segment", "_row"] {
        assert_eq!(seen["types_in_files"][own], "BIGINT");
    }
    for (types, more) in [(&seen["types"], 1), (&seen["types_in_files"], 3)] {
        let types = types.as_object().unwrap();
        let columns = row.as_object().unwrap().keys().map(String::as_str).chain(["day"]);
        for column in columns {
            let expected = TYPES.iter().find(|(name, _)| *name == column);
            let expected = expected.map_or("VARCHAR", |(_, kind)| *kind);
            assert_eq!(types[column], expected, "{column}");
        }
        assert_eq!(types.len(), row.as_object().unwrap().len() + more, "{types:?}");
    }
}
