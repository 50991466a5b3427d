//! An audit log on disk: appended to, rotated, cut, while the program runs, ends and comes back.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::events::read;
use super::program::{LIMIT, program};
use super::server::{client, refused, text};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A folder with a log, settings that name it, and a data folder.
struct Node {
    dir: TempDir,
    rotations: u32,
}

impl Node {
    fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().expect("create a folder"), rotations: 0 };
        let settings = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[[source]]\ntype = \"file\"\nname = \"cp-1\"\n\
             path = \"{}\"\ncluster = \"east\"\n",
            node.log().display()
        );
        fs::write(node.settings(), settings).expect("write the settings");
        node
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn settings(&self) -> PathBuf {
        self.dir.path().join("auditmill.toml")
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

    fn serve(&self) -> Serving {
        Serving::start(&self.settings(), &self.dir.path().join("data"))
    }
}

/// A running program; dropping it is `kill -9`.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(settings: &Path, data: &Path) -> Self {
        let mut command = program();
        command.arg("serve").arg("--config").arg(settings).arg("--data").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the program");
        let stderr = child.stderr.take().expect("a pipe was asked for");
        let mut serving = Self { child, url: String::new() };
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let url = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            Some(line["message"].as_str()?.strip_prefix("listening on ")?.to_owned())
        });
        serving.url = url.expect("it says where it listens");
        // A full pipe would hold it up.
        thread::spawn(move || lines.for_each(drop));
        serving
    }

    /// How many events there are, and how many different ones.
    async fn events(&self) -> (i64, i64) {
        let query = "SELECT count(*) AS rows, count(DISTINCT name) AS names FROM events \
                     WHERE cluster = 'east' AND source = 'file'";
        let request = client().post(format!("{}/v1/sql", self.url));
        let answer = request.json(&json!({ "query": query })).send().await.expect("ask a query");
        let (status, body) = text(answer).await;
        assert_eq!(status, 200, "{body}");
        let rows: Value = serde_json::from_str(&body).expect("rows are JSON");
        let number = |column: &str| rows[0][column].as_i64().expect("a count is a number");
        (number("rows"), number("names"))
    }

    /// Waits for so many events, each once.
    async fn check(&self, expected: i64) {
        let deadline = Instant::now() + LIMIT;
        while self.events().await.1 < expected {
            assert!(Instant::now() < deadline, "{:?} of {expected}", self.events().await);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        assert_eq!(self.events().await, (expected, expected));
    }

    async fn counter(&self, name: &str) -> f64 {
        let request = client().get(format!("{}/metrics", self.url)).send().await;
        let (_, metrics) = text(request.expect("ask for metrics")).await;
        let name = format!("auditmill_ingest_file_{name}_total{{source=\"cp-1\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name}in\n{metrics}"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fails when it has ended already: as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_log_is_followed_through_rotations_and_cuts() {
    let mut node = Node::new();
    let serving = node.serve();
    node.append(0..2_000);
    serving.check(2_000).await;
    for rotation in 1..4 {
        node.append(rotation * 2_000..rotation * 2_000 + 1_000);
        node.rotate();
        node.append(rotation * 2_000 + 1_000..rotation * 2_000 + 2_000);
    }
    serving.check(8_000).await;
    assert!(serving.counter("truncations").await == 0.0);
    let log = File::options().write(true).open(node.log()).expect("open the log");
    log.set_len(0).expect("cut the log");
    node.append(8_000..8_100);
    serving.check(8_100).await;
    assert!(serving.counter("truncations").await == 1.0);
    assert!(serving.counter("gone").await == 0.0);
}

#[tokio::test]
async fn a_log_is_followed_on_after_kill_9() {
    let mut node = Node::new();
    node.append(0..3_000);
    let serving = node.serve();
    serving.check(3_000).await;
    // Killed while it reads.
    node.append(3_000..20_000);
    thread::sleep(POLL_INTERVAL * 10);
    drop(serving);
    node.append(20_000..21_000);
    node.rotate();
    node.append(21_000..22_000);
    node.rotate();
    node.append(22_000..23_000);
    let serving = node.serve();
    serving.check(23_000).await;
    assert!(serving.counter("gone").await == 0.0);
    assert!(serving.counter("truncations").await == 0.0);
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
