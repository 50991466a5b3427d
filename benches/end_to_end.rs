//! How fast is the whole way? One line per figure:
//!
//! `name  events/s  MB/s  ratio to the bare simd-json tape parse of the same bytes`
//!
//! The events are a recording of a real API server (mostly controllers), replayed with moving
//! times and new audit ids, so that nothing is a repeat, in deliveries of 400 events as the API
//! server sends them. `server` posts them to the real binary over loopback: the client's work is
//! in the figure, and both share the machine's cores.

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
use auditmill::event::time::{parse_rfc3339, rfc3339};

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/apiserver/background.jsonl");
const EVENTS_PER_DELIVERY: usize = 400;
const EVENTS: usize = 100_000;
/// Rows that the engine gets at once when deliveries queue up.
const ROWS_PER_EVALUATION: usize = 4_000;
const SENDERS: usize = 4;
const STAGE: &str = "\"stageTimestamp\":\"";
const RECEIVED: &str = "\"requestReceivedTimestamp\":\"";

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("the only provider");
    let deliveries = deliveries();
    let bytes: usize = deliveries.iter().map(Vec::len).sum();
    println!(
        "{EVENTS} events, {} deliveries, {} bytes each event",
        deliveries.len(),
        bytes / EVENTS
    );
    let bar = best_of(3, || tape(&deliveries));
    print("tape", bytes, bar, bar);
    print("decode", bytes, best_of(3, || decode(&deliveries)), bar);
    print("decode+detect", bytes, best_of(3, || detect(&deliveries)), bar);
    let (elapsed, acknowledge) = server(&deliveries);
    print("server", bytes, elapsed, bar);
    let at = |share: f64| acknowledge[((acknowledge.len() - 1) as f64 * share) as usize];
    println!("acknowledge  p50 {:?}  p99 {:?}  max {:?}", at(0.5), at(0.99), at(1.0));
}

fn print(name: &str, bytes: usize, elapsed: Duration, bar: Duration) {
    let seconds = elapsed.as_secs_f64();
    println!(
        "{name:<14} {:>9.0} events/s {:>7.0} MB/s  ratio {:.3}",
        EVENTS as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        bar.as_secs_f64() / seconds
    );
}

fn best_of(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().expect("at least one run")
}

/// The recording, repeated: copy k is k recordings later and has audit ids of its own.
fn deliveries() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(RECORDING).expect("the recording is in the repository");
    let lines: Vec<&str> = text.lines().collect();
    let time = |line: &str, key: &str| {
        let start = line.find(key)? + key.len();
        Some((start, parse_rfc3339(line.get(start..start + 27)?)?))
    };
    let times = || lines.iter().filter_map(|line| time(line, STAGE)).map(|(_, time)| time);
    let (first, last) = (times().min().expect("times"), times().max().expect("times"));
    let copies = EVENTS.div_ceil(lines.len());
    let span = last - first + 1_000_000;
    let base = now_micros() - span * copies as i64 - first;
    let events = (0..copies).flat_map(|copy| lines.iter().map(move |line| (copy, *line)));
    let events = events.take(EVENTS).map(|(copy, line)| {
        let mut event = line.to_owned();
        for key in [STAGE, RECEIVED] {
            if let Some((start, time)) = time(&event, key) {
                let moved = rfc3339(time + base + span * copy as i64);
                event.replace_range(start..start + 27, &moved);
            }
        }
        let id = "\"auditID\":\"";
        let start = event.find(id).expect("an audit id") + id.len();
        event.replace_range(start..start + 6, &format!("{copy:06x}"));
        event
    });
    let events: Vec<String> = events.collect();
    let event_list = |items: &[String]| {
        format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\
             \"items\":[{}]}}",
            items.join(",")
        )
        .into_bytes()
    };
    events.chunks(EVENTS_PER_DELIVERY).map(event_list).collect()
}

/// The bar: simd-json's tape with its buffers kept, on a copy as it writes into its input.
fn tape(deliveries: &[Vec<u8>]) -> Duration {
    let mut buffers = simd_json::Buffers::default();
    let mut bodies = deliveries.to_vec();
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

fn decode(deliveries: &[Vec<u8>]) -> Duration {
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

fn detect(deliveries: &[Vec<u8>]) -> Duration {
    let catalog = Catalog::load(None).expect("the shipped detections load");
    let settings = EngineSettings { pace: Pace::Live, ..EngineSettings::default() };
    let mut engine = Engine::new(&catalog, settings).expect("the shipped detections plan");
    let mut decoder = Decoder::new();
    let mut seen = Seen::new(1_000_000, i64::MAX);
    let mut evaluated = 0;
    let started = Instant::now();
    for bodies in deliveries.chunks(ROWS_PER_EVALUATION / EVENTS_PER_DELIVERY) {
        let bodies: Vec<&Vec<u8>> = bodies.iter().collect();
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

fn rows(decoder: &mut Decoder, bodies: &[&Vec<u8>]) -> arrow::array::RecordBatch {
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
/// from a post to its answer.
fn server(deliveries: &[Vec<u8>]) -> (Duration, Vec<Duration>) {
    let Server { url, process: _process } = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let started = Instant::now();
    let answers = runtime.block_on(async {
        let client = reqwest::Client::new();
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let own: Vec<Vec<u8>> =
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
            if metrics.text().await.expect("metrics").contains("pending_records 0\n") {
                return answers;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let elapsed = started.elapsed();
    let mut answers = answers;
    answers.sort();
    (elapsed, answers)
}

struct Server {
    url: String,
    process: Process,
}

fn start() -> Server {
    // On the disk of the working folder: /tmp may be memory.
    let data = tempfile::tempdir_in(".").expect("a folder");
    let child = Command::new(env!("CARGO_BIN_EXE_auditmill"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut process = Process { child, _data: data };
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
    _data: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
