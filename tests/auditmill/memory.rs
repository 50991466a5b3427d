//! Memory stays within `[ingest] budget` and a margin, however much is sent at once.
//!
//! `AUDITMILL_SENDERS` says how many send: 10 by default, 64 when there is time.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::io::{BufWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::events::{list, read, repository};
use super::server::TestServer;

const SENDERS: u32 = 10;
/// What a batch of the API server's may come to: 400 events with large request bodies.
const BODY_BYTES: usize = 40_000_000;
const EVENTS_PER_BATCH: usize = 400;
/// Room for eight such bodies, but not for two copies of each.
const BUDGET: u64 = 320 << 20;
/// For all that is not a delivery on its way to the disk: the one being written, the one being
/// decoded, its rows, the connections.
const MARGIN: u64 = 200 << 20;
/// How long one sender may take to be rid of its body: this is not about time.
const PATIENCE: Duration = Duration::from_mins(20);

/// What has a budget of its own is small here, so that it cannot hide in the margin, nor fill it.
const SETTINGS: &str = "[ingest]\nbudget = \"320MiB\"\nduplicates_events_max = 10000\n\
    [http]\nbody_bytes_max = \"64MiB\"\nbody_timeout = \"20m\"\n\
    [journal]\nmemory = \"8MiB\"\nreserve = \"1MiB\"\n\
    [history]\nmemory = \"8MiB\"\n[detect]\nbuffer = \"4MiB\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_the_budget_and_a_margin() {
    let senders = std::env::var("AUDITMILL_SENDERS").ok().and_then(|text| text.parse().ok());
    let senders = senders.unwrap_or(SENDERS);
    let server = TestServer::start(SETTINGS);
    // What is only set up for the first delivery and the first question belongs to the rest.
    assert_eq!(server.post("prod", list(&[read(1)])).await, 200);
    server.quiesce().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
    let rest = server.memory("VmRSS");
    // Many small events make much work, few large ones make large rows: one after the other.
    let bodies = [Arc::new(Body::of_small_events()), Arc::new(Body::of_large_events())];
    let events: usize = (0..senders).map(|n| bodies[n as usize % 2].marks.len()).sum();
    let started = Instant::now();
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let body = Arc::clone(&bodies[sender as usize % 2]);
            let address = server.address().to_owned();
            thread::spawn(move || deliver(&address, &body, sender))
        })
        .collect();
    let refused: u32 = threads.into_iter().map(|thread| thread.join().expect("delivered")).sum();
    let acknowledged = started.elapsed();
    let peak = server.memory("VmHWM");
    server.quiesce_within(PATIENCE).await;
    let peak_after = server.memory("VmHWM");
    println!(
        "{senders} senders of {} MB, {refused} refusals; acknowledged after {acknowledged:?}, \
         done after {:?}; {} MiB at rest, {} MiB more at most until acknowledged, {} until done",
        BODY_BYTES / 1_000_000,
        started.elapsed(),
        rest >> 20,
        (peak - rest) >> 20,
        (peak_after - rest) >> 20,
    );
    let events = u32::try_from(events + 1).expect("not that many");
    let decoded = server.metric("auditmill_decode_events_total{cluster=\"prod\"}").await;
    assert_eq!(decoded, f64::from(events), "not every event was decoded once");
    let over = server.metric("auditmill_ingest_refused_total{reason=\"memory\"}").await;
    assert!(over > 0.0 && over == f64::from(refused), "{over} refusals, {refused} arrived");
    assert!(peak_after <= rest + BUDGET + MARGIN, "{} MiB above rest", (peak_after - rest) >> 20);
}

/// An event list that every sender makes its own.
struct Body {
    bytes: Vec<u8>,
    /// Where the sender's number goes, in each event's audit id.
    marks: Vec<usize>,
}

/// The length of a sender's number, and of a copy's.
const DIGITS: usize = 4;
const ID: &str = "\"auditID\":\"";

impl Body {
    /// What a real API server's controllers do, again and again.
    fn of_small_events() -> Self {
        let lines = recorded();
        Self::new((0..).flat_map(|copy| lines.iter().map(move |line| (copy, line.clone()))))
    }

    /// The same with a large list as each request's body.
    fn of_large_events() -> Self {
        let lines = recorded();
        let mut list = String::new();
        for line in lines.iter().cycle() {
            if list.len() + 2 * line.len() > BODY_BYTES / EVENTS_PER_BATCH {
                break;
            }
            // Only an event itself has an audit id.
            list.push_str(&line.replace(ID, "\"id\":\""));
            list.push(',');
        }
        let items =
            format!("\"requestObject\":{{\"items\":[{}]}},{ID}", list.trim_end_matches(','));
        let large = |line: &String| {
            assert!(!line.contains("\"requestObject\""), "an event has one body");
            line.replace(ID, &items)
        };
        let bodiless = || lines.iter().filter(|line| !line.contains("\"requestObject\""));
        Self::new((0..).flat_map(|copy| bodiless().map(move |line| (copy, large(line)))))
    }

    /// As many of these events as fit; each copy of one has its number in the audit id.
    fn new(events: impl Iterator<Item = (u32, String)>) -> Self {
        let mut bytes = b"{\"kind\":\"EventList\",\"items\":[".to_vec();
        let mut marks = Vec::new();
        for (copy, event) in events {
            if bytes.len() + event.len() > BODY_BYTES {
                break;
            }
            let at = event.find(ID).expect("an audit id") + ID.len();
            marks.push(bytes.len() + at);
            bytes.extend(&event.as_bytes()[..at]);
            bytes.extend(format!("{:0DIGITS$}{copy:0DIGITS$}", 0).bytes());
            bytes.extend(&event.as_bytes()[at + 2 * DIGITS..]);
            bytes.push(b',');
        }
        bytes.pop();
        bytes.extend(b"]}");
        Self { bytes, marks }
    }

    /// Writes it as this sender's.
    fn write(&self, stream: &TcpStream, sender: u32) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 18, stream);
        let mut from = 0;
        for mark in &self.marks {
            out.write_all(&self.bytes[from..*mark])?;
            write!(out, "{sender:0DIGITS$}")?;
            from = mark + DIGITS;
        }
        out.write_all(&self.bytes[from..])?;
        out.flush()
    }
}

fn recorded() -> Vec<String> {
    let path = repository("testdata/events/apiserver/background.jsonl");
    let text = std::fs::read_to_string(path).expect("read the recording");
    text.lines().map(str::to_owned).collect()
}

/// Sends the body until it is acknowledged, waiting as long as it is told to; gives the number of
/// refusals.
fn deliver(address: &str, body: &Body, sender: u32) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    for refused in 0.. {
        assert!(Instant::now() < deadline, "{refused} refusals, no end");
        let answer = attempt(address, body, sender);
        if answer.starts_with("HTTP/1.1 200 ") {
            return refused;
        }
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: 3\r\n"), "{answer}");
        thread::sleep(Duration::from_secs(3));
    }
    unreachable!("there is a deadline")
}

/// One attempt; gives the head of the answer, which may come before all is sent.
fn attempt(address: &str, body: &Body, sender: u32) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("set a limit");
    stream.set_write_timeout(Some(PATIENCE)).expect("set a limit");
    let length = body.bytes.len();
    write!(
        stream,
        "POST /v1/audit/prod HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    )
    .expect("send a head");
    let sent = body.write(&stream, sender);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n") && !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("no answer; sending: {sent:?}"),
            Ok(read) => answer.extend(&buffer[..read]),
            Err(error) => panic!("no answer: {error}; sending: {sent:?}"),
        }
    }
    String::from_utf8(answer).expect("a head is text")
}
