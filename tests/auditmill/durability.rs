//! Killed at any moment, nothing that was acknowledged is missing, and nothing is there twice.
//!
//! `AUDITMILL_ROUNDS` says how often it is killed: 10 times by default, more when there is time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::events::{exec, list, read, time};
use super::program::LIMIT;
use super::proof::verified;
use super::server::{TestServer, client};

const ROUNDS: u32 = 10;
const SENDERS: u32 = 4;
/// The API server's own: five attempts, each wait half as long again; its ten seconds are
/// milliseconds here.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// Kill after so many acknowledgements, each round another number of them.
const ACKNOWLEDGED_MAX: u32 = 23;

/// What the senders share.
struct Load {
    url: Mutex<String>,
    stop: AtomicBool,
    next_event: AtomicU32,
    acknowledgements: AtomicU32,
    acknowledged: Mutex<Vec<u32>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_exactly_once() {
    // Small segments: many are started, filled and recycled on the way.
    let server = TestServer::start("[journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n");
    survive(server, rounds(), 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_while_files_are_written_and_joined() {
    let server = TestServer::start(
        "[history]\nflush_after = \"10ms\"\n[journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n",
    );
    // So many rows that there is time to join files before it is killed.
    let server = survive(server, rounds(), 1_500.0).await;
    let log = server.data().join("history/_delta_log");
    let joined = || {
        let commits = std::fs::read_dir(&log).unwrap().map(|commit| commit.unwrap().path());
        let mut commits = commits.filter_map(|path| std::fs::read_to_string(path).ok());
        commits.any(|commit| commit.contains("\"remove\""))
    };
    // The last round leaves files that may be joined, if none before had the time.
    let deadline = Instant::now() + LIMIT;
    while !joined() {
        assert!(Instant::now() < deadline, "no files were joined");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often it is killed.
pub(crate) fn rounds() -> u32 {
    let rounds = std::env::var("AUDITMILL_ROUNDS").ok().and_then(|text| text.parse().ok());
    rounds.unwrap_or(ROUNDS)
}

/// Kills it so often under load, each time after it wrote so many rows to history or a few times
/// as many; what was acknowledged must be there once, and with it findings.
pub(crate) async fn survive(mut server: TestServer, rounds: u32, rows: f64) -> TestServer {
    let load = Arc::new(Load {
        url: Mutex::new(server.url("")),
        stop: AtomicBool::new(false),
        next_event: AtomicU32::new(0),
        acknowledgements: AtomicU32::new(0),
        acknowledged: Mutex::default(),
    });
    let senders: Vec<_> = (0..SENDERS).map(|_| tokio::spawn(send(Arc::clone(&load)))).collect();
    for round in 0..rounds {
        let so_far = load.acknowledgements.load(Ordering::SeqCst);
        let enough = so_far + 1 + round * 7 % ACKNOWLEDGED_MAX;
        let deadline = Instant::now() + LIMIT;
        while load.acknowledgements.load(Ordering::SeqCst) < enough {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more");
            tokio::task::yield_now().await;
        }
        let rows = rows * f64::from(1 + round % 5);
        while rows > 0.0 && server.metric("auditmill_history_rows_total").await < rows {
            assert!(Instant::now() < deadline, "nothing is written any more");
            tokio::task::yield_now().await;
        }
        server.kill_and_restart();
        // One in a bucket is elsewhere.
        if server.data().join("history").is_dir() {
            verified(&server.data());
        }
        *load.url.lock().unwrap() = server.url("");
    }
    load.stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("a sender does not fail");
    }
    server.quiesce().await;
    check(&server, &load).await;
    server
}

/// Sends one batch after the other, the same bytes again until they are acknowledged or given up.
async fn send(load: Arc<Load>) {
    let client = client();
    while !load.stop.load(Ordering::SeqCst) {
        let size = 1 + load.next_event.load(Ordering::SeqCst) % 40;
        let first = load.next_event.fetch_add(size, Ordering::SeqCst);
        let events: Vec<Value> = (first..first + size).map(event).collect();
        let body = list(&events);
        let mut wait = FIRST_WAIT;
        for _ in 0..ATTEMPTS {
            let url = format!("{}/v1/audit/prod", load.url.lock().unwrap());
            let answer = client.post(url).body(body.clone()).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                load.acknowledged.lock().unwrap().extend(first..first + size);
                load.acknowledgements.fetch_add(1, Ordering::SeqCst);
                break;
            }
            tokio::time::sleep(wait).await;
            wait = wait * 3 / 2;
        }
    }
}

/// Every tenth event makes a finding of its own.
pub(crate) fn event(number: u32) -> Value {
    let mut event = if number.is_multiple_of(10) { exec(number) } else { read(number) };
    // Long runs have more events than a day has seconds.
    for member in ["stageTimestamp", "requestReceivedTimestamp"] {
        event[member] = Value::String(time(number % 86_400));
    }
    event
}

async fn check(server: &TestServer, load: &Load) {
    let rows = server.sql("SELECT audit_id, count(*) AS n FROM events GROUP BY audit_id").await;
    let rows = rows.as_array().expect("rows");
    let counts: BTreeMap<&str, i64> = rows
        .iter()
        .filter_map(|row| Some((row["audit_id"].as_str()?, row["n"].as_i64()?)))
        .collect();
    let findings = server.sql("SELECT key, count(*) AS n FROM findings GROUP BY key").await;
    let findings = findings.as_array().expect("rows");
    assert!(findings.iter().all(|row| row["n"] == 1), "a finding is there twice");
    assert!(counts.values().all(|count| *count == 1), "an event is there twice");
    let acknowledged = load.acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 100, "too little was acknowledged to tell");
    for number in acknowledged.iter() {
        let id = event(*number)["auditID"].as_str().expect("an id").to_owned();
        assert!(counts.contains_key(id.as_str()), "acknowledged event {id} is lost");
    }
    let execs = acknowledged.iter().filter(|number| number.is_multiple_of(10)).count();
    assert!(findings.len() >= execs, "{} findings of {execs} execs", findings.len());
}

#[tokio::test]
async fn the_journal_stays_within_its_space() {
    let settings = "[journal]\nsegment = \"64KiB\"\nspace = \"512KiB\"\nreserve = \"1MiB\"\n";
    let mut server = TestServer::start(settings);
    // What gives no rows is not kept for their sake, and rows go to files before it is full; who
    // is too fast is asked to come again.
    for number in 0..40 {
        deliver(&server, "junk", noise(number)).await;
    }
    for number in 0..40 {
        let mut event = read(number);
        event["requestObject"] = Value::String(String::from_utf8(noise(number)).unwrap());
        deliver(&server, "rows", list(&[event])).await;
    }
    server.quiesce().await;
    assert!(space(&server) <= 13, "{} files", space(&server));
    let all = "SELECT count(DISTINCT audit_id) FROM events WHERE cluster = 'rows'";
    assert_eq!(server.number(all).await, 40);
    server.kill_and_restart();
    server.quiesce().await;
    assert_eq!(server.number(all).await, 40);
}

/// Posts until it is taken.
async fn deliver(server: &TestServer, cluster: &str, body: impl Into<Vec<u8>>) {
    let body = body.into();
    let deadline = Instant::now() + LIMIT;
    loop {
        match server.post(cluster, body.clone()).await {
            200 => return,
            429 if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            status => panic!("answered {status}"),
        }
    }
}

/// Number of the journal's files.
fn space(server: &TestServer) -> usize {
    std::fs::read_dir(server.data().join("journal")).unwrap().count()
}

/// Text that does not compress to much less.
pub(crate) fn noise(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'0' + u8::try_from(state >> 58).expect("six bits")
    };
    (0..50_000).map(letter).filter(|byte| *byte != b'\\').collect()
}
