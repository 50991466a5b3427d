//! How long does one event wait for its acknowledgement? As in the API server's `blocking` mode:
//! one event per delivery, the next one sent when the last one is answered.
//!
//! Beside it, the disk's own time for the same in the same run: overwriting 4 KiB of a file that
//! was written before, and syncing it.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DELIVERIES: usize = 5_000;
const BLOCK: usize = 4096;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the only provider");
    let data = tempfile::tempdir_in(".").expect("a folder on this disk");
    let disk = disk(data.path());
    print("fdatasync", &disk);
    let server = start(data.path());
    print("acknowledge", &deliver(&server.url));
    print("fdatasync", &self::disk(data.path()));
}

fn print(name: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<12} p50 {:>9.3?}  p90 {:>9.3?}  p99 {:>9.3?}  max {:>9.3?}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// Sorted times of a write and a sync.
fn disk(folder: &Path) -> Vec<Duration> {
    let file = File::create(folder.join("block")).expect("a file");
    file.write_all_at(&vec![7; BLOCK * 64], 0).expect("room");
    file.sync_all().expect("a sync");
    let mut times: Vec<Duration> = (0..DELIVERIES)
        .map(|n| {
            let started = Instant::now();
            file.write_all_at(&[n as u8; BLOCK], (n % 64 * BLOCK) as u64).expect("room");
            file.sync_data().expect("a sync");
            started.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// Sorted times from a delivery to its answer.
fn deliver(url: &str) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = reqwest::Client::new();
        let url = format!("{url}/v1/audit/bench");
        let mut times = Vec::with_capacity(DELIVERIES);
        for number in 0..DELIVERIES {
            let body = format!(
                "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\
                 \"items\":[{{\"level\":\"Metadata\",\"auditID\":\"bench-{number}\",\
                 \"stage\":\"ResponseComplete\",\"verb\":\"get\",\
                 \"requestURI\":\"/api/v1/namespaces/dev/pods/web-{number}\",\
                 \"user\":{{\"username\":\"alice\"}},\"sourceIPs\":[\"10.0.0.1\"]}}]}}"
            );
            let started = Instant::now();
            let answer = client.post(&url).body(body).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            times.push(started.elapsed());
        }
        times.sort();
        times
    })
}

/// Ends with its owner.
struct Server {
    url: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(data: &Path) -> Server {
    let process = Command::new(env!("CARGO_BIN_EXE_auditmill"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut server = Server { url: String::new(), process };
    let log = BufReader::new(server.process.stderr.take().expect("a pipe"));
    for line in log.lines() {
        let line = line.expect("a line");
        if let Some(start) = line.find("http://") {
            line[start..].split('"').next().expect("a url").clone_into(&mut server.url);
            return server;
        }
    }
    panic!("no address in the log");
}
