//! Copies of a data directory in use, restored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::durability::event;
use super::events::{list, read};
use super::program::{Ended, LIMIT, run};
use super::proof::verified;
use super::server::{TestServer, client};

/// Small segments that are soon used again, and a history that changes all the time.
const SETTINGS: &str = "[journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n\
     [history]\nflush_after = \"100ms\"\nkeep = \"0s\"\n";
const BACKUPS: usize = 4;

fn backup(data: &Path, to: &Path) -> Ended {
    run(["backup".as_ref(), "--data".as_ref(), data.as_os_str(), to.as_os_str()])
}

fn restore(from: &Path, data: &Path) -> Ended {
    run(["restore".as_ref(), from.as_os_str(), "--data".as_ref(), data.as_os_str()])
}

fn done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Events that are sent, one batch after the other.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    next_event: AtomicU32,
    acknowledged: Mutex<Vec<u32>>,
}

async fn send(load: Arc<Load>, url: String) {
    let client = client();
    while !load.stop.load(Ordering::SeqCst) {
        let size = 1 + load.next_event.load(Ordering::SeqCst) % 40;
        let first = load.next_event.fetch_add(size, Ordering::SeqCst);
        let events: Vec<Value> = (first..first + size).map(event).collect();
        let answer = client.post(&url).body(list(&events)).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            load.acknowledged.lock().unwrap().extend(first..first + size);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_busy_directory_has_what_was_acknowledged_once() {
    let mut server = TestServer::start(SETTINGS);
    server.sql("SELECT 'asked before'").await;
    let folder = tempfile::tempdir().unwrap();
    let load = Arc::new(Load::default());
    let url = server.url("/v1/audit/prod");
    let senders: Vec<_> =
        (0..2).map(|_| tokio::spawn(send(Arc::clone(&load), url.clone()))).collect();
    let mut copies = Vec::new();
    for number in 0..BACKUPS {
        let wanted = (number + 1) * 300;
        let deadline = Instant::now() + LIMIT;
        while load.acknowledged.lock().unwrap().len() < wanted {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more");
            tokio::task::yield_now().await;
        }
        let acknowledged = load.acknowledged.lock().unwrap().clone();
        let to = folder.path().join(format!("backup-{number}"));
        let (data, target) = (server.data(), to.clone());
        let ended = tokio::task::spawn_blocking(move || backup(&data, &target)).await.unwrap();
        done(&ended);
        copies.push((to, acknowledged));
    }
    load.stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    server.stop();
    for (number, (from, acknowledged)) in copies.into_iter().enumerate() {
        let data = folder.path().join(format!("data-{number}"));
        done(&restore(&from, &data));
        check(&data, &acknowledged).await;
    }
}

/// All that was acknowledged is there once, and the service goes on.
async fn check(data: &Path, acknowledged: &[u32]) {
    verified(data);
    let mut server = TestServer::start_over(data, SETTINGS);
    server.quiesce().await;
    let before = rows(&server, acknowledged).await;
    // A delivery that came after the copy comes again: it is no repeat here.
    let later: Vec<Value> = (900_000..900_010).map(event).collect();
    assert_eq!(server.post("prod", list(&later)).await, 200);
    server.quiesce().await;
    server.kill_and_restart();
    server.quiesce().await;
    assert_eq!(rows(&server, acknowledged).await, before + 10);
    let asked = "SELECT count(*) FROM questions WHERE query = 'SELECT ''asked before'''";
    assert_eq!(server.number(asked).await, 1);
    verified(data);
}

async fn rows(server: &TestServer, acknowledged: &[u32]) -> usize {
    let rows = server.sql("SELECT audit_id, count(*) AS n FROM events GROUP BY audit_id").await;
    let rows = rows.as_array().unwrap();
    let counts: BTreeMap<&str, i64> = rows
        .iter()
        .filter_map(|row| Some((row["audit_id"].as_str()?, row["n"].as_i64()?)))
        .collect();
    assert!(counts.values().all(|count| *count == 1), "an event is there twice");
    for number in acknowledged {
        let id = event(*number)["auditID"].as_str().unwrap().to_owned();
        assert!(counts.contains_key(id.as_str()), "acknowledged event {id} is lost");
    }
    let findings = server.sql("SELECT key, count(*) AS n FROM findings GROUP BY key").await;
    let findings = findings.as_array().unwrap();
    assert!(findings.iter().all(|row| row["n"] == 1), "a finding is there twice");
    let execs = acknowledged.iter().filter(|number| number.is_multiple_of(10)).count();
    assert!(findings.len() >= execs, "{} findings of {execs} execs", findings.len());
    counts.len()
}

#[tokio::test]
async fn nothing_is_overwritten_and_half_a_backup_is_refused() {
    let mut server = TestServer::start(SETTINGS);
    assert_eq!(server.post("prod", list(&[read(1)])).await, 200);
    assert_eq!(server.post("prod", "no event").await, 200);
    server.quiesce().await;
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let (to, data) = (folder.path().join("to"), folder.path().join("data"));
    // What a killed one left is in nobody's way.
    let partial = folder.path().join("to.partial");
    std::fs::create_dir_all(partial.join("history")).unwrap();
    std::fs::write(partial.join("history/half"), "x").unwrap();
    done(&backup(&server.data(), &to));
    assert!(!to.join("history/half").exists() && !partial.exists());
    let refused = |ended: &Ended, why: &str| {
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    refused(&backup(&server.data(), &to), "is not empty");
    refused(&backup(folder.path(), &data), "is no data directory of auditmill");
    refused(&restore(folder.path(), &data), "is no finished backup");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mine"), "x").unwrap();
    refused(&restore(&to, &data), "is not empty");
    std::fs::remove_file(data.join("mine")).unwrap();
    done(&restore(&to, &data));
    std::fs::remove_file(to.join("findings.db")).unwrap();
    refused(&restore(&to, &folder.path().join("other")), "is not whole: `findings.db`");

    let restored = TestServer::start_over(&data, SETTINGS);
    restored.quiesce().await;
    assert_eq!(restored.number("SELECT count(*) FROM events").await, 1);
    assert_eq!(restored.number("SELECT count(*) FROM quarantine").await, 1);
}
