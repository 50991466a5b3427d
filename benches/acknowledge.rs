//! How long does one event wait for its acknowledgement? As in the API server's `blocking` mode:
//! one event per delivery, the next one sent when the last one is answered.
//!
//! Beside it, the disk's own time for the same in the same run: overwriting 4 KiB of a file that
//! was written before, and syncing it. Then the same once more while eight analysts ask heavy
//! questions about many events without a pause: the aim is a p99 under 25 ms.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

#[path = "traffic/server.rs"]
mod server;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use server::start;

const DELIVERIES: usize = 5_000;
const BLOCK: usize = 4096;
const ANALYSTS: usize = 8;
/// Events that analysts ask about, in bodies of [`EVENTS_PER_BODY`].
const BODIES: usize = 500;
const EVENTS_PER_BODY: usize = 400;
/// What analysts ask, in turn: groups of many keys, a sort, a view, a pattern in every text.
const QUESTIONS: [&str; 4] = [
    "SELECT name, user_name, count(*) AS n FROM events GROUP BY 1, 2 ORDER BY n DESC LIMIT 10",
    "SELECT event_id, event_time FROM events ORDER BY event_id DESC LIMIT 100",
    "SELECT user_name, verb, count(*) AS n, max(duration_ms) FROM requests GROUP BY 1, 2",
    "SELECT count(*) FROM events WHERE regexp_like(request_uri, 'pods/[a-z]+-[0-9]*7$')",
];

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the only provider");
    let data = tempfile::tempdir_in(".").expect("a folder on this disk");
    let disk = disk(data.path());
    print("fdatasync", &disk);
    let server = start(data.path());
    print("acknowledge", &deliver(&server.url, "bench"));
    fill(&server.url);
    let analysts = Analysts::start(&server.url);
    print("queried", &deliver(&server.url, "queried"));
    println!("{ANALYSTS} analysts got {} answers meanwhile", analysts.stop());
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
fn deliver(url: &str, cluster: &str) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = reqwest::Client::new();
        let url = format!("{url}/v1/audit/{cluster}");
        let mut times = Vec::with_capacity(DELIVERIES);
        for number in 0..DELIVERIES {
            let body = body(number..number + 1);
            let started = Instant::now();
            let answer = client.post(&url).body(body).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            times.push(started.elapsed());
        }
        times.sort();
        times
    })
}

/// A delivery of these events, each one of a kind.
fn body(numbers: std::ops::Range<usize>) -> String {
    let events = numbers.map(|number| {
        format!(
            "{{\"level\":\"Metadata\",\"auditID\":\"bench-{number}\",\
             \"stage\":\"ResponseComplete\",\"verb\":\"get\",\
             \"requestURI\":\"/api/v1/namespaces/dev/pods/web-{number}\",\
             \"objectRef\":{{\"resource\":\"pods\",\"name\":\"web-{number}\"}},\
             \"user\":{{\"username\":\"alice\"}},\"sourceIPs\":[\"10.0.0.1\"]}}"
        )
    });
    let events = events.collect::<Vec<_>>().join(",");
    format!(
        "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\
         \"items\":[{events}]}}"
    )
}

/// Delivers what analysts ask about, and waits until it can be asked.
fn fill(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = reqwest::Client::new();
        let first = DELIVERIES * 2;
        for place in 0..BODIES {
            let from = first + place * EVENTS_PER_BODY;
            let sent = client.post(format!("{url}/v1/audit/history"));
            let answer = sent.body(body(from..from + EVENTS_PER_BODY)).send().await;
            assert_eq!(answer.expect("an answer").status(), 200);
        }
        let expected = format!("[{{\"n\":{}}}]", BODIES * EVENTS_PER_BODY);
        let count = "SELECT count(*) AS n FROM events WHERE cluster = 'history'";
        while ask(&client, url, count).await != expected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

async fn ask(client: &reqwest::Client, url: &str, query: &str) -> String {
    let question = serde_json::json!({ "query": query });
    let answer = client.post(format!("{url}/v1/sql")).json(&question).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200, "{query}");
    answer.text().await.expect("a whole answer")
}

/// Ask until they are stopped, on a thread of their own.
struct Analysts {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Analysts {
    fn start(url: &str) -> Self {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), url.to_owned());
        let stopped = Arc::clone(&stop);
        #[expect(clippy::disallowed_methods, reason = "a bench's thread ends with it")]
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = reqwest::Client::new();
                let analysts = (0..ANALYSTS).map(async |analyst| {
                    let mut answers = 0;
                    while !stopped.load(Ordering::Relaxed) {
                        let question = QUESTIONS[(analyst + answers) % QUESTIONS.len()];
                        ask(&client, &url, question).await;
                        answers += 1;
                    }
                    answers
                });
                futures::future::join_all(analysts).await.into_iter().sum()
            })
        });
        Self { stop, thread }
    }

    /// Gives the number of answers.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("analysts do not panic")
    }
}
