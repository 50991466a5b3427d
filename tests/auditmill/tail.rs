//! An audit log on disk: appended to, rotated, cut, while the program runs, ends and comes back.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::events::read;
use super::program::LIMIT;
use super::server::{TestServer, refused};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A folder with a log, and data that outlives a run.
struct Node {
    dir: TempDir,
    rotations: u32,
}

impl Node {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("create a folder"), rotations: 0 }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// Writes events as the API server's log backend does, one per line.
    fn append(&self, numbers: Range<u32>) {
        let lines: Vec<String> = numbers.map(|number| read(number).to_string() + "\n").collect();
        let lines = lines.concat();
        let mut log = OpenOptions::new().create(true).append(true).open(self.log());
        log.as_mut().expect("open the log").write_all(lines.as_bytes()).expect("write the log");
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        let name = format!("audit-2026-03-01T10-00-{:02}.000.log", self.rotations);
        fs::rename(self.log(), self.dir.path().join(name)).expect("rename the log");
    }

    fn serve(&self) -> TestServer {
        let settings = format!(
            "[[source]]\ntype = \"file\"\nname = \"cp-1\"\npath = \"{}\"\ncluster = \"east\"\n",
            self.log().display()
        );
        TestServer::start_over(&self.dir.path().join("data"), &settings)
    }
}

/// How many events there are, and how many different ones.
async fn events(server: &TestServer) -> (i64, i64) {
    let query = "SELECT count(*) AS rows, count(DISTINCT name) AS names FROM events \
                 WHERE cluster = 'east' AND source = 'file'";
    let rows = server.sql(query).await;
    let number = |column: &str| rows[0][column].as_i64().expect("a count is a number");
    (number("rows"), number("names"))
}

/// Waits for so many events, each once.
async fn check(server: &TestServer, expected: i64) {
    let deadline = Instant::now() + LIMIT;
    while events(server).await.1 < expected {
        assert!(Instant::now() < deadline, "{:?} of {expected}", events(server).await);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    assert_eq!(events(server).await, (expected, expected));
}

/// A counter of the log, which must be there.
async fn counter(server: &TestServer, name: &str) -> f64 {
    let (_, metrics) = server.get("/metrics").await;
    let name = format!("auditmill_ingest_file_{name}_total{{source=\"cp-1\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}in\n{metrics}"))
}

#[tokio::test]
async fn a_log_is_followed_through_rotations_and_cuts() {
    let mut node = Node::new();
    let server = node.serve();
    node.append(0..2_000);
    check(&server, 2_000).await;
    for rotation in 1..4 {
        node.append(rotation * 2_000..rotation * 2_000 + 1_000);
        node.rotate();
        node.append(rotation * 2_000 + 1_000..rotation * 2_000 + 2_000);
    }
    check(&server, 8_000).await;
    assert!(counter(&server, "truncations").await == 0.0);
    let log = File::options().write(true).open(node.log()).expect("open the log");
    log.set_len(0).expect("cut the log");
    node.append(8_000..8_100);
    check(&server, 8_100).await;
    assert!(counter(&server, "truncations").await == 1.0);
    assert!(counter(&server, "gone").await == 0.0);
}

#[tokio::test]
async fn a_log_is_followed_on_after_kill_9() {
    let mut node = Node::new();
    node.append(0..3_000);
    let server = node.serve();
    check(&server, 3_000).await;
    // Killed while it reads.
    node.append(3_000..20_000);
    thread::sleep(POLL_INTERVAL * 10);
    drop(server);
    node.append(20_000..21_000);
    node.rotate();
    node.append(21_000..22_000);
    node.rotate();
    node.append(22_000..23_000);
    let server = node.serve();
    check(&server, 23_000).await;
    assert!(counter(&server, "gone").await == 0.0);
    assert!(counter(&server, "truncations").await == 0.0);
}

#[test]
fn a_source_that_cannot_be_is_refused() {
    let source = |name: &str| {
        format!("[[source]]\ntype = \"file\"\nname = \"{name}\"\npath = \"/none/{name}.log\"\n")
    };
    let ended = refused(&source("No/Name"));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("`No/Name` is not a name"), "{}", ended.stderr);
}
