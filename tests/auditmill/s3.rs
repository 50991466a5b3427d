//! History in a bucket of a real S3 server that comes and goes.
//!
//! The server is a program, so the tests need `AUDITMILL_S3_BIN`, the folder that
//! `tests/s3/build.sh` fills; without it they pass without looking.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::process::{Process, lasting_port, start_listening};
use super::durability::{noise, survive};
use super::events::{exec, list, read};
use super::program::{self, LIMIT};
use super::server::TestServer;
use super::stores;

const SECRET: &str = "not-to-be-shown";
/// Rounds of killing: each start opens a table in the bucket.
const ROUNDS: u32 = 5;

/// An S3 server with a bucket.
struct Bucket {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    server: Process,
}

impl Bucket {
    /// Starts one; `None` says that these tests are not wanted here.
    fn start() -> Option<Self> {
        let Some(bin) = env::var_os("AUDITMILL_S3_BIN").map(PathBuf::from) else {
            assert!(env::var_os("CI").is_none(), "AUDITMILL_S3_BIN is not set, but CI is");
            println!("skipped: AUDITMILL_S3_BIN is not set (tests/s3/build.sh fills it)");
            return None;
        };
        let dir = tempfile::tempdir().expect("create a folder");
        fs::create_dir_all(dir.path().join("objects/bucket")).expect("create the bucket");
        fs::create_dir(dir.path().join("beside")).expect("create a folder");
        let spawn = || {
            let port = lasting_port();
            (serve(&bin, dir.path(), port), port)
        };
        let (server, port) = start_listening(LIMIT, spawn, |port| is_up(*port));
        Some(Self { bin, dir, port, server })
    }

    /// Nobody answers at its address from now on.
    fn kill(&mut self) {
        self.server.kill();
    }

    /// As it was, at the same address.
    fn restart(&mut self) {
        let spawn = || (serve(&self.bin, self.dir.path(), self.port), self.port);
        (self.server, _) = start_listening(LIMIT, spawn, |port| is_up(*port));
    }

    /// Settings of a server whose history is here.
    fn settings(&self) -> String {
        settings(self.port)
    }

    /// The entries of the table's log, by version.
    fn log(&self) -> BTreeMap<u64, String> {
        let folder = self.dir.path().join("objects/bucket/audit/_delta_log");
        let files = fs::read_dir(folder).expect("list the table's log");
        let paths = files.map(|file| file.expect("list the table's log").path());
        let commit = |path: PathBuf| {
            let version = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
            Some((version, fs::read_to_string(path).ok()?))
        };
        paths.filter_map(commit).collect()
    }
}

fn settings(port: u16) -> String {
    format!(
        "[history]\nurl = \"s3://bucket/audit\"\nflush_after = \"100ms\"\n\
         [history.options]\naws_endpoint = \"http://127.0.0.1:{port}\"\n\
         aws_region = \"us-east-1\"\naws_access_key_id = \"auditmill\"\n\
         aws_secret_access_key = \"{SECRET}\"\n\
         aws_allow_http = \"true\"\naws_virtual_hosted_style_request = \"false\"\n\
         [journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n"
    )
}

fn serve(bin: &Path, dir: &Path, port: u16) -> Process {
    let mut command = Command::new(bin.join("versitygw"));
    command.args(["--access", "auditmill", "--secret", SECRET, "--quiet"]);
    command.args(["--port", &format!("127.0.0.1:{port}"), "posix", "--sidecar"]);
    command.args([dir.join("beside"), dir.join("objects")]);
    Process::spawn("versitygw", &mut command, dir)
}

fn is_up(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Delivers so many bodies of ten events each, the first of which makes a finding; gives the ids.
async fn deliver(server: &TestServer, first: u32, bodies: u32) -> Vec<String> {
    let mut ids = Vec::new();
    for start in (first..).step_by(10).take(bodies as usize) {
        let mut events = vec![exec(start)];
        events.extend((start + 1..start + 10).map(read));
        // So that the journal has something to keep.
        events[0]["requestObject"] = Value::String(String::from_utf8(noise(start)).unwrap());
        assert_eq!(server.post("prod", list(&events)).await, 200, "{}", server.log());
        ids.extend(events.iter().map(|event| event["auditID"].as_str().unwrap().to_owned()));
    }
    ids
}

/// Waits until a query of one number gives this one; while it fails, it is asked again.
async fn wait_for(server: &TestServer, query: &str, number: i64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (status, answer) = server.try_sql(query).await;
        let value = answer[0].as_object().and_then(|row| row.values().next()?.as_i64());
        if status == 200 && value == Some(number) {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {answer}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a metric is at least this.
async fn wait_for_metric(server: &TestServer, name: &str, value: f64) {
    let deadline = Instant::now() + LIMIT;
    while server.metric(name).await < value {
        assert!(Instant::now() < deadline, "{name} is below {value}:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each of these is there once, and nothing else.
async fn check(server: &TestServer, ids: &[String]) {
    let rows = server.sql("SELECT audit_id, count(*) AS n FROM events GROUP BY audit_id").await;
    let rows = rows.as_array().unwrap();
    let counts: BTreeMap<&str, i64> = rows
        .iter()
        .map(|row| (row["audit_id"].as_str().unwrap(), row["n"].as_i64().unwrap()))
        .collect();
    assert!(counts.values().all(|count| *count == 1), "an event is there twice: {counts:?}");
    for id in ids {
        assert!(counts.contains_key(id.as_str()), "{id} is lost");
    }
    assert_eq!(counts.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_the_bucket_once_however_often_it_is_killed() {
    let Some(bucket) = Bucket::start() else { return };
    survive(TestServer::start(&bucket.settings()), ROUNDS, 1.0).await;
    let positions = bucket.log().values().filter(|commit| commit.contains("\"txn\"")).count();
    assert!(positions >= ROUNDS as usize, "hardly anything was written: {positions} commits");
}

/// Places of `src/fault.rs` on the way of rows into the bucket.
const FAULTS: [&str; 8] = [
    "findings_durable",
    "history_file",
    "history_file:3",
    "history_committed",
    "history_committed:3",
    "history_replaced:2",
    "history_compacted",
    "history_changed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_all_is_in_the_bucket_once() {
    let Some(bucket) = Bucket::start() else { return };
    for (number, fault) in FAULTS.iter().enumerate() {
        // Each has a table of its own.
        let settings = bucket.settings().replace("bucket/audit", &format!("bucket/audit{number}"));
        let mut server = TestServer::start(&settings);
        let sent = stores::be_killed_at(&mut server, fault, stores::batch).await;
        stores::check(&server, sent, fault).await;
        server.kill_and_restart();
        server.quiesce().await;
        stores::check(&server, sent, fault).await;
    }
}

#[tokio::test]
async fn the_bucket_alone_has_all_after_a_stop() {
    let Some(bucket) = Bucket::start() else { return };
    let mut server = TestServer::start(&bucket.settings());
    let ids = deliver(&server, 0, 20).await;
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.log().contains(SECRET), "{}", server.log());
    // A new data directory: it knows what is in the bucket, and goes on there.
    let mut server = TestServer::start(&bucket.settings());
    check(&server, &ids).await;
    let more = deliver(&server, 1_000, 5).await;
    server.quiesce().await;
    check(&server, &[ids.clone(), more.clone()].concat()).await;
    server.stop();
    let server = TestServer::start(&bucket.settings());
    check(&server, &[ids, more].concat()).await;
}

#[tokio::test]
async fn a_bucket_is_verified_and_what_changed_in_it_is_named() {
    let Some(bucket) = Bucket::start() else { return };
    let mut server = TestServer::start(&bucket.settings());
    deliver(&server, 0, 20).await;
    server.stop();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("auditmill.toml");
    fs::write(&config, bucket.settings()).unwrap();
    let (config, data) = (config.to_str().unwrap(), server.data());
    let verify = || {
        let data = data.to_str().unwrap();
        program::run(["verify", "--config", config, "--data", data, "--format", "json"])
    };
    let whole = verify();
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let table = bucket.dir.path().join("objects/bucket/audit/cluster=prod");
    let day = fs::read_dir(table).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let changed = verify();
    assert_eq!(changed.code, Some(1), "{}{}", changed.stdout, changed.stderr);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(changed.stdout.contains(name), "{}", changed.stdout);
    assert!(!(changed.stdout + &changed.stderr).contains(SECRET));
}

#[tokio::test]
async fn a_backtest_reads_the_bucket_while_a_server_writes_there() {
    let Some(bucket) = Bucket::start() else { return };
    let server = TestServer::start(&bucket.settings());
    let ids = deliver(&server, 0, 20).await;
    wait_for_metric(&server, "auditmill_history_rows_total", 200.0).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auditmill.toml");
    fs::write(&path, bucket.settings()).unwrap();
    let path = path.to_str().unwrap();
    let backtest = |data: &str| {
        let ended = program::run([
            "backtest",
            "--config",
            path,
            "--data",
            data,
            "--format",
            "json",
            "--detection",
            "K8A-401",
        ]);
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
        ended
    };
    let told = server.findings("detection=K8A-401").await;
    assert_eq!(told.len(), 20);
    // By its URL, and as what the settings name for a data directory.
    for data in ["s3://bucket/audit", dir.path().to_str().unwrap()] {
        let ended = backtest(data);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        let events = lines.iter().find(|line| line["kind"] == "summary").unwrap();
        assert_eq!(events["events"], ids.len());
        let mut found: Vec<&Value> =
            lines.iter().filter(|line| line["kind"] == "finding").map(|line| &line["id"]).collect();
        let mut expected: Vec<&Value> = told.iter().map(|finding| &finding["id"]).collect();
        found.sort_by_key(|id| id.as_str());
        expected.sort_by_key(|id| id.as_str());
        assert_eq!(found, expected);
    }
    let ended = backtest("s3://bucket/nothing");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("has no history"), "{}", ended.stderr);
    assert!(!bucket.dir.path().join("objects/bucket/nothing").exists(), "nothing is written");
}

#[tokio::test]
async fn while_the_bucket_is_away_nothing_is_refused_and_later_all_is_written() {
    let Some(mut bucket) = Bucket::start() else { return };
    let mut server = TestServer::start(&bucket.settings());
    let mut ids = deliver(&server, 0, 10).await;
    wait_for_metric(&server, "auditmill_history_rows_total", 100.0).await;

    bucket.kill();
    ids.extend(deliver(&server, 10_000, 60).await);
    server.quiesce().await;
    // What is not in the bucket can be asked ...
    let newer = "SELECT count(*) FROM events WHERE event_time > '2026-03-01T02:00:00Z'";
    assert_eq!(server.number(newer).await, 600);
    assert_eq!(server.findings("").await.len(), 70);
    // ... and a question that needs the bucket fails instead of answering with a part.
    let all = json!({ "query": "SELECT count(DISTINCT audit_id) FROM events" });
    let answer = server.client().post(server.url("/v1/sql")).json(&all).send().await.unwrap();
    let (status, after) = (answer.status(), answer.headers().get("retry-after").cloned());
    let answer = answer.text().await.unwrap();
    assert_eq!(status, 503, "{answer}");
    assert_eq!(after.unwrap(), "15");
    assert!(answer.contains("the history cannot be read now"), "{answer}");
    wait_for_metric(&server, "auditmill_history_failures_total", 2.0).await;
    assert!(server.log().contains("history not written, will try again"), "{}", server.log());
    let segments = segments(&server);
    assert!(segments > 4, "the journal keeps {segments} files");

    bucket.restart();
    wait_for_metric(&server, "auditmill_history_rows_total", 700.0).await;
    check(&server, &ids).await;
    let deadline = Instant::now() + LIMIT;
    while self::segments(&server) >= segments {
        assert!(Instant::now() < deadline, "the journal keeps {segments} files");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.kill_and_restart();
    server.quiesce().await;
    check(&server, &ids).await;
    assert!(!server.log().contains(SECRET), "{}", server.log());
}

/// The journal's files.
fn segments(server: &TestServer) -> usize {
    fs::read_dir(server.data().join("journal")).unwrap().count()
}

#[tokio::test]
async fn a_start_while_the_bucket_is_away_takes_deliveries_and_catches_up() {
    let Some(mut bucket) = Bucket::start() else { return };
    let mut server = TestServer::start(&bucket.settings());
    let mut ids = deliver(&server, 0, 5).await;
    wait_for_metric(&server, "auditmill_history_rows_total", 50.0).await;
    bucket.kill();
    ids.extend(deliver(&server, 1_000, 5).await);
    server.kill_and_restart();
    server.logged("history cannot be reached, will try again", 1);
    ids.extend(deliver(&server, 2_000, 5).await);
    let (status, answer) = server.try_sql("SELECT count(*) FROM events").await;
    assert_eq!(status, 503);
    assert!(answer.to_string().contains("cannot be reached yet"), "{answer}");
    // It can be stopped. Once more, with nothing but the journal, and with a place that takes
    // connections but says nothing.
    assert_eq!(server.stop().code(), Some(0));
    let data = server.data();
    let silent = TcpListener::bind(("127.0.0.1", bucket.port)).unwrap();
    let server = TestServer::start_over(&data, &bucket.settings());
    ids.extend(deliver(&server, 3_000, 5).await);
    drop(silent);
    bucket.restart();
    wait_for(&server, "SELECT count(*) FROM events", 200).await;
    check(&server, &ids).await;
    assert_eq!(server.findings("").await.len(), 20);
    wait_for_metric(&server, "auditmill_history_rows_total", 150.0).await;
    check(&server, &ids).await;
}

#[tokio::test]
async fn two_servers_at_one_place_by_mistake_lose_nothing() {
    let Some(bucket) = Bucket::start() else { return };
    let mut one = TestServer::start(&bucket.settings());
    let mut other = TestServer::start(&bucket.settings());
    let mut ids = Vec::new();
    for round in 0..5 {
        let (first, second) = (round * 100, 10_000 + round * 100);
        let (a, b) = tokio::join!(deliver(&one, first, 5), deliver(&other, second, 5));
        ids.extend(a);
        ids.extend(b);
        let rows = f64::from(round + 1) * 50.0;
        wait_for_metric(&one, "auditmill_history_rows_total", rows).await;
        wait_for_metric(&other, "auditmill_history_rows_total", rows).await;
    }
    one.kill_and_restart();
    ids.extend(deliver(&one, 1_000, 5).await);
    one.stop();
    other.stop();
    let server = TestServer::start(&bucket.settings());
    check(&server, &ids).await;
    let versions: Vec<u64> = bucket.log().into_keys().collect();
    let last = versions.last().copied().unwrap();
    assert_eq!(versions, (0..=last).collect::<Vec<_>>());
    assert!(last >= 10, "each wrote every round: {last} versions");
}

#[test]
fn a_first_start_without_the_bucket_says_what_is_wrong_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (path, data) = (dir.path().join("auditmill.toml"), dir.path().join("data"));
    fs::write(
        &path,
        format!(
            "{}[http]\nlisten = \"127.0.0.1:0\"\n\
             [query]\npostgres_listen = \"\"\nflight_listen = \"\"\n",
            settings(1)
        ),
    )
    .unwrap();
    let config = ["--config".as_ref(), path.as_os_str()];
    let serve = ["serve".as_ref(), config[0], config[1], "--data".as_ref(), data.as_os_str()];
    let ended = program::run(serve);
    assert_eq!(ended.code, Some(2));
    let said = "history at `s3://bucket/audit/` cannot be reached";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(ended.stderr.contains("[history.options]"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    let ended = program::run(["config".as_ref(), config[0], config[1]]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("aws_region = \"us-east-1\""), "{}", ended.stdout);
    assert!(!ended.stdout.contains(SECRET), "{}", ended.stdout);
}
