//! The program, serving: started on a free port, driven over HTTP, killed when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::{Body, Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{self, Ended, LIMIT, program};
use super::small_disk::SmallDisk;

const SETTINGS: &str = "auditmill.toml";
const DATA: &str = "data";
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running `auditmill serve`.
pub(crate) struct TestServer {
    child: Child,
    guard: Child,
    log: Arc<Mutex<String>>,
    disk: Option<SmallDisk>,
    /// The settings, and the data if nobody named a folder for it.
    dir: TempDir,
    data: PathBuf,
    url: String,
    client: Client,
}

impl TestServer {
    /// Starts it with these settings (TOML) and a fresh data folder, where they name no address
    /// on a free port, and waits until it says where it listens.
    pub(crate) fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("create a folder");
        let data = dir.path().join(DATA);
        Self::start_in(dir, None, settings, data)
    }

    /// As [`Self::start`], over a data folder that outlives it.
    pub(crate) fn start_over(data: &Path, settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("create a folder");
        Self::start_in(dir, None, settings, data.to_owned())
    }

    /// As [`Self::start`], with its data folder on a disk of so many KiB.
    pub(crate) fn start_on_small_disk(settings: &str, kib: u32) -> Self {
        let dir = tempfile::tempdir().expect("create a folder");
        let data = dir.path().join(DATA);
        std::fs::create_dir(&data).expect("create the data folder");
        let disk = SmallDisk::mount(&data, kib);
        Self::start_in(dir, Some(disk), settings, data)
    }

    fn start_in(dir: TempDir, disk: Option<SmallDisk>, settings: &str, data: PathBuf) -> Self {
        write_settings(dir.path(), settings);
        // From here on to `Self` nothing may fail: it would leave the child behind.
        let client = client();
        let child = spawn(dir.path(), &data, disk.as_ref(), "");
        let guard = guard(&child);
        let log = Arc::default();
        let mut server = Self { child, guard, log, disk, dir, data, url: String::new(), client };
        server.wait_until_it_listens();
        server
    }

    /// Kills it (SIGKILL) and starts it again over the same data, at another address.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill_and_restart_with("");
    }

    /// As [`Self::kill_and_restart`]; it will end itself at this fault point (`src/fault.rs`).
    pub(crate) fn kill_and_restart_with(&mut self, fault: &str) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it has ended");
        self.child = spawn(self.dir.path(), &self.data, self.disk.as_ref(), fault);
        self.guard = guard(&self.child);
        self.wait_until_it_listens();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("ask for a child").is_some()
    }

    fn wait_until_it_listens(&mut self) {
        let said = follow(&mut self.child, &self.log);
        let url = said.recv_timeout(LIMIT);
        self.url = url.unwrap_or_else(|_| panic!("it never listened:\n{}", self.log()));
    }

    /// A URL of it: `http://127.0.0.1:PORT` and a path, `https` when its settings say TLS.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").expect("a URL has a scheme").1
    }

    /// A client that knows nothing of it, no authority and no credential.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.data.clone(), SmallDisk::folder)
    }

    /// A connection to it, with a limit on how long a read may wait.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("set a limit");
        stream
    }

    /// The small disk that it was started on.
    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it was started on a small disk")
    }

    /// A line of `/proc/PID/status` that says KiB, such as `VmRSS` (memory now) and `VmHWM` (the
    /// most so far); in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("read the status of a process");
        let value = status.lines().find_map(|found| {
            let value = found.strip_prefix(line)?.strip_prefix(':')?.trim();
            value.strip_suffix(" kB")?.parse::<u64>().ok()
        });
        value.unwrap_or_else(|| panic!("no `{line}` in {status}")) << 10
    }

    /// The names of its threads, cut by the system to 15 letters, and how nice each is.
    pub(crate) fn priorities(&self) -> Vec<(String, i64)> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let tasks = std::fs::read_dir(tasks).expect("list the threads of a process");
        let stat = |task: std::io::Result<std::fs::DirEntry>| {
            // A thread may end meanwhile.
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            // The name is field 2, in parentheses; how nice it is field 19.
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            Some((name.to_owned(), rest.split_ascii_whitespace().nth(16)?.parse().ok()?))
        };
        tasks.filter_map(stat).collect()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it has said this so far.
    pub(crate) fn count(&self, said: &str) -> usize {
        self.log().matches(said).count()
    }

    /// Waits until it has said this so often.
    pub(crate) fn logged(&self, said: &str, times: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.count(said) < times {
            assert!(Instant::now() < deadline, "it never said `{said}`:\n{}", self.log());
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Delivers a body of this cluster; gives the status.
    pub(crate) async fn post(&self, cluster: &str, body: impl Into<Body>) -> u16 {
        let url = self.url(&format!("/v1/audit/{cluster}"));
        self.client.post(url).body(body).send().await.expect("deliver a body").status().as_u16()
    }

    /// Waits until all that was acknowledged is decoded, detected and stored.
    pub(crate) async fn quiesce(&self) {
        self.quiesce_within(LIMIT).await;
    }

    /// The same, where there is much to be done.
    pub(crate) async fn quiesce_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.metric("auditmill_pipeline_pending_records").await > 0.0 {
            assert!(Instant::now() < deadline, "records are pending after {limit:?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// One page of findings; `query` is like `severity=high&limit=5`.
    pub(crate) async fn findings_page(&self, query: &str) -> Value {
        let (status, body) = self.get(&format!("/v1/findings?{query}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        serde_json::from_str(&body).expect("findings are JSON")
    }

    /// The findings of one page, which must hold them all.
    pub(crate) async fn findings(&self, query: &str) -> Vec<Value> {
        let page = self.findings_page(&format!("limit=10000&{query}")).await;
        assert_eq!(page["next"], Value::Null, "more than one page of findings");
        page["findings"].as_array().expect("`findings` is a list").clone()
    }

    /// The rows of a query.
    pub(crate) async fn sql(&self, query: &str) -> Value {
        let (status, answer) = self.try_sql(query).await;
        assert_eq!(status, 200, "{query}: {answer}");
        answer
    }

    /// The answer to a query, rows or not.
    pub(crate) async fn try_sql(&self, query: &str) -> (u16, Value) {
        let request = self.client.post(self.url("/v1/sql")).json(&json!({ "query": query }));
        let (status, body) = text(request.send().await.expect("ask a query")).await;
        (status, serde_json::from_str(&body).expect("the answer to a query is JSON"))
    }

    /// The only value that a query gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let rows = self.sql(query).await;
        let value = rows[0].as_object().and_then(|row| row.values().next());
        value.and_then(Value::as_i64).unwrap_or_else(|| panic!("{query}: no number in {rows}"))
    }

    /// The value of a metric, named with its labels as in `/metrics`; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Status and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(self.url(path)).send().await;
        text(response.unwrap_or_else(|error| panic!("GET {path}: {error:?}\n{}", self.log()))).await
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -$1 $2", "signal", name, &id]).status();
        assert!(sent.expect("run a shell").success(), "it was not running:\n{}", self.log());
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        program::wait(&mut self.child)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // Fails when it has ended already: as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Before its input closes: the child's number may belong to someone else by now.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if thread::panicking() {
            let log = self.log();
            let unneeded = log.lines().count().saturating_sub(30);
            let tail: Vec<&str> = log.lines().skip(unneeded).collect();
            eprintln!("--- its last words:\n{}", tail.join("\n"));
        }
    }
}

fn spawn(settings: &Path, data: &Path, disk: Option<&SmallDisk>, fault: &str) -> Child {
    let mut command = program();
    command.env("AUDITMILL_FAULT", fault);
    command.arg("serve").arg("--config").arg(settings.join(SETTINGS)).arg("--data").arg(data);
    if let Some(disk) = disk {
        command = disk.inside(&command);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("start the program")
}

/// What `auditmill serve` says when it must not start with these settings.
pub(crate) fn refused(settings: &str) -> Ended {
    let dir = tempfile::tempdir().expect("create a folder");
    let config = write_settings(dir.path(), settings);
    program::run(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
}

/// The settings as a file; without an address of their own they get a free port.
fn write_settings(dir: &Path, settings: &str) -> PathBuf {
    let mut table: toml::Table = settings.parse().expect("settings are TOML");
    let http = table.entry("http").or_insert_with(|| toml::Table::new().into());
    let http = http.as_table_mut().expect("[http] is a section");
    http.entry("listen").or_insert_with(|| "127.0.0.1:0".into());
    let query = table.entry("query").or_insert_with(|| toml::Table::new().into());
    let query = query.as_table_mut().expect("[query] is a section");
    for wire in ["postgres_listen", "flight_listen"] {
        query.entry(wire).or_insert_with(|| "127.0.0.1:0".into());
    }
    let path = dir.join(SETTINGS);
    std::fs::write(&path, table.to_string()).expect("write the settings");
    path
}

/// A shell that kills the child when we go without a word: its input closes when we are killed.
fn guard(child: &Child) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read -r _; kill -KILL \"$1\"", "guard", &child.id().to_string()]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // In a group of its own, so that an interrupt of the tests does not end it first.
    shell.process_group(0).spawn().expect("start a shell to guard a child")
}

/// Gathers what a child logs; sends the URL once it says where it listens.
fn follow(child: &mut Child, log: &Arc<Mutex<String>>) -> mpsc::Receiver<String> {
    let lines = BufReader::new(child.stderr.take().expect("a pipe was asked for")).lines();
    let (sender, receiver) = mpsc::channel();
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(url) = listening(&line) {
                let _ = sender.send(url);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
    receiver
}

/// The URL in a log line such as `{"message":"listening on http://127.0.0.1:4711",...}`.
fn listening(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["message"].as_str()?.strip_prefix("listening on ")?.to_owned())
}

/// An HTTP client with a time limit on everything.
pub(crate) fn client() -> Client {
    install_crypto();
    Client::builder().timeout(LIMIT).no_proxy().build().expect("build an HTTP client")
}

/// Clients know no cryptography of their own.
pub(crate) fn install_crypto() {
    // An error says that somebody did this before: as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Status and body of an answer.
pub(crate) async fn text(response: Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.expect("read an answer"))
}
