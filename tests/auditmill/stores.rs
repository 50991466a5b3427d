//! Three stores, one order: killed at each step from the journal over findings to history, nothing
//! is missing, nothing is there twice, and what is counted is counted once.

use std::time::{Duration, Instant};

use super::events::{exec, list, read};
use super::program::LIMIT;
use super::proof::verified;
use super::server::TestServer;

/// Places of `src/fault.rs` on the way of a batch, and how often each is passed before the end.
const FAULTS: [&str; 13] = [
    "step_evaluated:2",
    "step_committed:2",
    "step_committed:4",
    "findings_durable",
    "findings_durable:3",
    "history_file",
    "history_committed",
    "history_committed:3",
    "history_replaced:2",
    "proof_written:2",
    "proof_signed",
    "history_compacted",
    "history_changed",
];
const SETTINGS: &str = "[history]\nflush_after = \"20ms\"\n\
     [journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n";
/// Events of a batch; each tenth event is a finding.
const BATCH: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_all_is_there_once() {
    for fault in FAULTS {
        let mut server = TestServer::start(SETTINGS);
        let sent = be_killed_at(&mut server, fault, batch).await;
        check(&server, sent, fault).await;
        server.kill_and_restart();
        verified(&server.data());
        server.quiesce().await;
        check(&server, sent, fault).await;
    }
}

/// Delivers until the server ends at this place; then all once more to one that does not, as the
/// API server sends again what was not acknowledged. Gives how many events that were.
pub(crate) async fn be_killed_at(
    server: &mut TestServer,
    fault: &str,
    batch: impl Fn(u32) -> String,
) -> u32 {
    let mut sent = 0;
    for _ in 0..3 {
        assert!(send(server, batch(sent), &mut sent).await, "nothing is wrong yet");
    }
    server.quiesce().await;
    server.kill_and_restart_with(fault);
    let deadline = Instant::now() + LIMIT;
    while !server.has_ended() {
        assert!(Instant::now() < deadline, "{fault} was never passed:\n{}", server.log());
        send(server, batch(sent), &mut sent).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    server.kill_and_restart();
    for first in (0..sent).step_by(BATCH as usize) {
        assert_eq!(server.post("prod", batch(first)).await, 200);
    }
    server.quiesce().await;
    sent
}

/// Sends a batch; false when it was not acknowledged.
async fn send(server: &TestServer, batch: String, sent: &mut u32) -> bool {
    let answer = server.client().post(server.url("/v1/audit/prod")).body(batch).send().await;
    let taken = answer.is_ok_and(|answer| answer.status() == 200);
    // What was not acknowledged may be there all the same, or not.
    *sent += BATCH;
    taken
}

pub(crate) fn batch(first: u32) -> String {
    let event =
        |number: u32| if number.is_multiple_of(BATCH) { exec(number) } else { read(number) };
    list(&(first..first + BATCH).map(event).collect::<Vec<_>>())
}

/// Places where old rows are let go and their files deleted.
const RETENTION_FAULTS: [&str; 4] =
    ["history_expired", "history_expired:2", "history_deleted", "history_deleted:2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_old_rows_are_let_go_the_new_ones_are_there_once() {
    let settings = SETTINGS.replace("[history]", "[history]\nkeep = \"30days\"");
    let now = jiff::Timestamp::now().to_string();
    // Every other event is of today, the others are older than is kept.
    let batch = |first: u32| {
        let events = (first..first + BATCH).map(|number| {
            let mut event = if number.is_multiple_of(BATCH) { exec(number) } else { read(number) };
            if number.is_multiple_of(2) {
                event["stageTimestamp"] = now.clone().into();
                event["requestReceivedTimestamp"] = now.clone().into();
            }
            event
        });
        list(&events.collect::<Vec<_>>())
    };
    for fault in RETENTION_FAULTS {
        let mut server = TestServer::start(&settings);
        let sent = be_killed_at(&mut server, fault, batch).await;
        for _ in 0..2 {
            let old = "SELECT count(*) FROM events WHERE event_time < '2026-06-01T00:00:00Z'";
            let deadline = Instant::now() + LIMIT;
            while server.number(old).await > 0 {
                assert!(Instant::now() < deadline, "{fault}: what is old stays");
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let new = "SELECT count(*) * 1000000 + count(DISTINCT audit_id) FROM events";
            let expected = i64::from(sent / 2) * 1_000_001;
            assert_eq!(server.number(new).await, expected, "{fault}: events");
            let findings = "SELECT count(*) FROM findings WHERE count = 1";
            let expected = i64::from(sent / BATCH);
            assert_eq!(server.number(findings).await, expected, "{fault}: findings");
            verified(&server.data());
            server.kill_and_restart();
            server.quiesce().await;
        }
    }
}

pub(crate) async fn check(server: &TestServer, sent: u32, fault: &str) {
    let sent = i64::from(sent);
    let events = "SELECT count(*) FROM events";
    assert_eq!(server.number(events).await, sent, "{fault}: events");
    let different = "SELECT count(DISTINCT audit_id) FROM events";
    assert_eq!(server.number(different).await, sent, "{fault}: different events");
    let findings = "SELECT count(*) FROM findings WHERE count = 1";
    assert_eq!(server.number(findings).await, sent / i64::from(BATCH), "{fault}: findings");
    let counted = "SELECT events FROM clusters WHERE cluster = 'prod'";
    assert_eq!(server.number(counted).await, sent, "{fault}: counted events");
}
