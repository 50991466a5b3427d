//! A disk that is full: what was acknowledged stays, the rest is told to come again, and once there
//! is room it goes on by itself.
//!
//! `AUDITMILL_FILLINGS` says how often it is filled: 4 times by default, more when there is time.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::durability::event;
use super::events::list;
use super::program::LIMIT;
use super::server::{TestServer, client};

/// Room for the journal of one filling, which grows by a few segments, and for the rest.
const FILLING_KIB: u32 = 2 << 10;
const DISK_KIB: u32 = 16 << 10;
/// Room is kept for little more than nothing, so that the disk is really full at times.
const SETTINGS: &str = "[journal]\nsegment = \"256KiB\"\nreserve = \"16KiB\"\n";
const SENDERS: u32 = 4;
const FILLINGS: u32 = 4;
/// At one of so many fillings it is killed and started again while the disk is full.
const FILLINGS_PER_RESTART: u32 = 4;
const DISK_REFUSALS: &str = "auditmill_ingest_refused_total{reason=\"disk\"}";

/// What the senders share.
struct Load {
    url: Mutex<String>,
    stop: AtomicBool,
    /// No new batches for the moment.
    paused: AtomicBool,
    /// The program is being restarted: there may be no answer.
    restarting: AtomicBool,
    next_event: AtomicU32,
    acknowledged: Mutex<Vec<u32>>,
}

impl Load {
    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Numbers of the acknowledged events. The lock is not held while somebody waits.
    fn copy(&self) -> Vec<u32> {
        self.acknowledged.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_holds_up_nothing_afterwards() {
    let fillings = std::env::var("AUDITMILL_FILLINGS").ok().and_then(|text| text.parse().ok());
    let fillings = fillings.unwrap_or(FILLINGS);
    let disk_kib = DISK_KIB + fillings * FILLING_KIB;
    let mut server = TestServer::start_on_small_disk(SETTINGS, disk_kib);
    let load = Arc::new(Load {
        url: Mutex::new(server.url("/v1/audit/prod")),
        stop: AtomicBool::new(false),
        paused: AtomicBool::new(false),
        restarting: AtomicBool::new(false),
        next_event: AtomicU32::new(0),
        acknowledged: Mutex::default(),
    });
    let senders: Vec<_> = (0..SENDERS).map(|_| tokio::spawn(send(Arc::clone(&load)))).collect();
    for filling in 0..fillings {
        let before = load.acknowledged();
        until("deliveries to be acknowledged", async || load.acknowledged() > before + 100).await;
        // Again and again, as the journal gives back what it could not use.
        let refused = server.metric(DISK_REFUSALS).await;
        until("deliveries to be refused", async || {
            server.disk().fill();
            server.metric(DISK_REFUSALS).await > refused + 5.0
        })
        .await;
        if filling % FILLINGS_PER_RESTART == FILLINGS_PER_RESTART / 2 {
            // A start needs no room either.
            load.restarting.store(true, Ordering::SeqCst);
            server.kill_and_restart();
            *load.url.lock().unwrap() = server.url("/v1/audit/prod");
            load.restarting.store(false, Ordering::SeqCst);
            until("deliveries to be refused", async || {
                server.disk().fill();
                server.metric(DISK_REFUSALS).await > 5.0
            })
            .await;
        }
        // What was found waits for room, and with it the journal.
        load.paused.store(true, Ordering::SeqCst);
        let acknowledged = load.copy();
        server.disk().free();
        server.quiesce().await;
        assert_present(&server, &acknowledged).await;
        load.paused.store(false, Ordering::SeqCst);
    }
    let before = load.acknowledged();
    until("deliveries to be acknowledged", async || load.acknowledged() > before + 100).await;
    load.stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("a sender does not fail");
    }
    server.quiesce().await;
    assert_present(&server, &load.copy()).await;
    assert_findings_file(&server, &load).await;
    server.kill_and_restart();
    server.quiesce().await;
    assert_present(&server, &load.copy()).await;
    println!("filled {fillings} times, {} events acknowledged, all there", load.acknowledged());
}

/// Sends batches, each the same bytes again until it is acknowledged.
async fn send(load: Arc<Load>) {
    let client = client();
    while !load.stop.load(Ordering::SeqCst) {
        if load.paused.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let first = load.next_event.fetch_add(10, Ordering::SeqCst);
        let events: Vec<Value> = (first..first + 10).map(event).collect();
        let body = list(&events);
        loop {
            let url = load.url.lock().unwrap().clone();
            let uncertain = load.restarting.load(Ordering::SeqCst);
            match client.post(&url).body(body.clone()).send().await {
                Ok(answer) if answer.status() == 200 => break,
                Ok(answer) => {
                    assert_eq!(answer.status(), 429);
                    assert_eq!(answer.headers()["retry-after"], "3");
                }
                Err(error) => {
                    let moved = *load.url.lock().unwrap() != url;
                    let restarting = load.restarting.load(Ordering::SeqCst);
                    assert!(uncertain || restarting || moved, "no answer: {error:?}");
                }
            }
            // Not the three seconds: the disk shall be full for a moment only.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        load.acknowledged.lock().unwrap().extend(first..first + 10);
    }
}

/// Every acknowledged event is there, and none is there twice.
async fn assert_present(server: &TestServer, acknowledged: &[u32]) {
    let rows = server.sql("SELECT audit_id, count(*) AS n FROM events GROUP BY audit_id").await;
    let counts: BTreeMap<&str, i64> = rows
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| Some((row["audit_id"].as_str()?, row["n"].as_i64()?)))
        .collect();
    assert!(counts.values().all(|count| *count == 1), "an event is there twice");
    for number in acknowledged {
        let id = event(*number)["auditID"].as_str().expect("an id").to_owned();
        assert!(counts.contains_key(id.as_str()), "acknowledged event {id} is lost");
    }
}

/// The file of findings, on the same disk, has a whole line for each, though at times there was no
/// room for it.
async fn assert_findings_file(server: &TestServer, load: &Load) {
    let execs = load.acknowledged.lock().unwrap().iter().filter(|n| n.is_multiple_of(10)).count();
    until("a line for each finding", async || {
        let text = std::fs::read_to_string(server.data().join("findings.jsonl")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let ids = whole.lines().map(|line| {
            let finding: Value = serde_json::from_str(line).expect("a line is a finding");
            finding["id"].as_str().expect("an id").to_owned()
        });
        ids.collect::<std::collections::BTreeSet<_>>().len() >= execs
    })
    .await;
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        tokio::task::yield_now().await;
    }
}
