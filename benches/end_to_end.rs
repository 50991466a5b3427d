//! How fast is the whole way? One line per figure:
//!
//! `name  events/s  MB/s  ratio to the bare simd-json tape parse of the same bytes`
//!
//! The events are expanded from a recording of a real API server, mostly controllers
//! (`traffic/expand.rs`), in deliveries of 400 as the API server sends them. `server` posts half a
//! million (`AUDITMILL_BENCH_EVENTS`) to the real binary over loopback: the client's work is in
//! the figure, and both share the machine's cores. Files are written each [`FLUSH`], so that the
//! figure has its share of them; the clock stops when everything is evaluated and can be asked.
//! The others take the first 100,000.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use auditmill::clock::now_micros;
use auditmill::decode::{Decoder, Delivery};
use auditmill::detect::catalog::Catalog;
use auditmill::detect::engine::{Engine, EngineSettings, Pace};
use auditmill::event::Rows;
use auditmill::event::seen::Seen;
use bytes::Bytes;
use traffic::{BACKGROUND, Traffic};

#[path = "traffic/expand.rs"]
mod traffic;

const EVENTS_PER_DELIVERY: usize = 400;
const EVENTS: usize = 100_000;
const SERVER_EVENTS: usize = 500_000;
/// Faster than any cluster, so that no event is late.
const GAP_MICROS: u32 = 300;
/// `[history] flush_bytes`.
const FLUSH: &str = "64MiB";
/// Rows that the engine gets at once when deliveries queue up.
const ROWS_PER_EVALUATION: usize = 4_000;
const SENDERS: usize = 4;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the only provider");
    let events = std::env::var("AUDITMILL_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let all = deliveries(events.unwrap_or(SERVER_EVENTS).max(EVENTS));
    let deliveries = &all[..EVENTS / EVENTS_PER_DELIVERY];
    let bytes: usize = deliveries.iter().map(Bytes::len).sum();
    println!("{} bytes an event", bytes / EVENTS);
    let bar = best_of(3, || tape(deliveries));
    let print = |name: &str, times: f64, elapsed: Duration| {
        let seconds = elapsed.as_secs_f64() / times;
        println!(
            "{name:<14} {:>9.0} events/s {:>7.0} MB/s  ratio {:.3}",
            EVENTS as f64 / seconds,
            bytes as f64 / 1e6 / seconds,
            bar.as_secs_f64() / seconds
        );
    };
    print("tape", 1.0, bar);
    print("decode", 1.0, best_of(3, || decode(deliveries)));
    print("decode+detect", 1.0, best_of(3, || detect(deliveries)));
    let times = all.len() as f64 / deliveries.len() as f64;
    let (elapsed, acknowledge, history) = server(&all);
    print("server", times, elapsed);
    println!("history        {history}");
    let at = |share: f64| acknowledge[((acknowledge.len() - 1) as f64 * share) as usize];
    println!("acknowledge  p50 {:?}  p99 {:?}  max {:?}", at(0.5), at(0.99), at(1.0));
}

fn best_of(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().expect("at least one run")
}

/// So many events until now.
fn deliveries(events: usize) -> Vec<Bytes> {
    let start = now_micros() - events as i64 * i64::from(GAP_MICROS);
    let mut traffic = Traffic::new(&[BACKGROUND], start, GAP_MICROS);
    let delivery = |_| {
        let mut body =
            "{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\
                        \"items\":["
                .to_owned();
        for number in 0..EVENTS_PER_DELIVERY {
            if number > 0 {
                body.push(',');
            }
            traffic.push(&mut body);
        }
        body.push_str("]}");
        Bytes::from(body)
    };
    (0..events / EVENTS_PER_DELIVERY).map(delivery).collect()
}

/// The bar: simd-json's tape with its buffers kept, on a copy as it writes into its input.
fn tape(deliveries: &[Bytes]) -> Duration {
    let mut buffers = simd_json::Buffers::default();
    let mut bodies: Vec<Vec<u8>> = deliveries.iter().map(|body| body.to_vec()).collect();
    let started = Instant::now();
    let mut nodes = 0;
    let mut tape = simd_json::Tape::null();
    for body in &mut bodies {
        let mut reused = tape.reset();
        simd_json::fill_tape(body, &mut buffers, &mut reused).expect("the recording is JSON");
        nodes += reused.0.len();
        tape = reused.reset();
    }
    let elapsed = started.elapsed();
    assert!(nodes > EVENTS);
    elapsed
}

fn decode(deliveries: &[Bytes]) -> Duration {
    let mut decoder = Decoder::new();
    let mut total = 0;
    let started = Instant::now();
    for body in deliveries {
        total += rows(&mut decoder, &[body]).num_rows();
    }
    let elapsed = started.elapsed();
    assert_eq!(total, EVENTS);
    elapsed
}

fn detect(deliveries: &[Bytes]) -> Duration {
    let catalog = Catalog::load(None).expect("the shipped detections load");
    let settings = EngineSettings { pace: Pace::Live, ..EngineSettings::default() };
    let mut engine = Engine::new(&catalog, settings).expect("the shipped detections plan");
    let mut decoder = Decoder::new();
    let mut seen = Seen::new(1_000_000, i64::MAX);
    let mut evaluated = 0;
    let started = Instant::now();
    for bodies in deliveries.chunks(ROWS_PER_EVALUATION / EVENTS_PER_DELIVERY) {
        let bodies: Vec<&Bytes> = bodies.iter().collect();
        let now = now_micros();
        let batch = seen.keep_new(&rows(&mut decoder, &bodies), now).expect("an events batch");
        evaluated += batch.num_rows();
        let outcome = engine.on_batch(&batch, now);
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        engine.on_time(now);
    }
    let elapsed = started.elapsed();
    assert_eq!(evaluated, EVENTS);
    elapsed
}

fn rows(decoder: &mut Decoder, bodies: &[&Bytes]) -> arrow::array::RecordBatch {
    let mut rows = Rows::new();
    let mut quarantined = Vec::new();
    for body in bodies {
        let delivery = Delivery { cluster: "bench", source: "webhook", received_at: 0, body };
        decoder.decode(&delivery, &mut rows, &mut quarantined);
    }
    assert!(quarantined.is_empty());
    rows.finish()
}

/// The real binary: posts everything, waits until it is processed. Also gives the sorted times
/// from a post to its answer, and what was written meanwhile.
fn server(deliveries: &[Bytes]) -> (Duration, Vec<Duration>, String) {
    let Server { url, process } = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let started = Instant::now();
    let (answers, metrics) = runtime.block_on(async {
        let client = reqwest::Client::new();
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let own: Vec<Bytes> =
                deliveries.iter().skip(sender).step_by(SENDERS).cloned().collect();
            let (client, url) = (client.clone(), format!("{url}/v1/audit/bench"));
            senders.push(async move {
                let mut answers = Vec::new();
                for body in own {
                    let posted = Instant::now();
                    let answer = client.post(&url).body(body).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answers.push(posted.elapsed());
                }
                answers
            });
        }
        let answers = futures::future::join_all(senders).await.concat();
        loop {
            let metrics = client.get(format!("{url}/metrics")).send().await.expect("metrics");
            let metrics = metrics.text().await.expect("metrics");
            if metrics.contains("pending_records 0\n") {
                return (answers, metrics);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let elapsed = started.elapsed();
    let mut answers = answers;
    answers.sort();
    let log = std::fs::read_dir(process.data.path().join("data/history/_delta_log"));
    let commits = log.expect("a history").flatten();
    let is_commit = |entry: &std::fs::DirEntry| {
        entry.path().extension().is_some_and(|extension| extension == "json")
    };
    let figure = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or("no").to_owned()
    };
    let history = format!(
        "{} commits of the table, {} rows and {} bytes in files",
        commits.filter(is_commit).count(),
        figure("auditmill_history_rows_total"),
        figure("auditmill_history_bytes_total"),
    );
    (elapsed, answers, history)
}

struct Server {
    url: String,
    process: Process,
}

fn start() -> Server {
    // On the disk of the working folder: /tmp may be memory.
    let data = tempfile::tempdir_in(".").expect("a folder");
    let child = Command::new(env!("CARGO_BIN_EXE_auditmill"))
        .env("AUDITMILL_QUERY_POSTGRES_LISTEN", "")
        .env("AUDITMILL_QUERY_FLIGHT_LISTEN", "")
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .env("AUDITMILL_HISTORY_FLUSH_BYTES", FLUSH)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut process = Process { child, data };
    let log = BufReader::new(process.child.stderr.take().expect("a pipe"));
    for line in log.lines() {
        let line = line.expect("a line");
        if let Some(start) = line.find("http://") {
            let url = line[start..].split('"').next().expect("a url").to_owned();
            return Server { url, process };
        }
    }
    panic!("no address in the log");
}

/// Ends with its owner.
struct Process {
    child: Child,
    data: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
