//! How fast do bytes become rows? One line per figure:
//!
//! `name  events/s  MB/s  ratio to the bare simd-json tape parse of the same bytes`
//!
//! Two recordings of real API servers: `mixed` has bodies of requests and responses on a third of
//! its bytes, `controllers` is mostly metadata. Each is cut into `EventList`s of 400 events as the
//! API server sends them. `hash` is what the identity of the events alone costs.

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "figures for people")]

use std::time::{Duration, Instant};

use auditmill::decode::{Decoder, Delivery};
use auditmill::event::{EventDigest, Rows};

const RECORDINGS: [(&str, &str); 2] = [
    ("mixed", concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/realcluster/audit.jsonl")),
    (
        "controllers",
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/apiserver/background.jsonl"),
    ),
];
const EVENTS_PER_DELIVERY: usize = 400;
const ROUNDS: usize = 60;

fn main() {
    for (name, path) in RECORDINGS {
        let text = std::fs::read_to_string(path).expect("the recording is in the repository");
        let lines: Vec<&str> = text.lines().collect();
        let deliveries: Vec<_> = lines.chunks(EVENTS_PER_DELIVERY).map(list).collect();
        let bytes: usize = deliveries.iter().map(Vec::len).sum();
        println!("{name}: {} events, {} bytes each", lines.len(), bytes / lines.len());
        let (mut buffers, mut decoder) = (simd_json::Buffers::default(), Decoder::new());
        let tape = best(&deliveries, |body| tape(body, &mut buffers));
        let hash = best(&deliveries, hash);
        let decode = best(&deliveries, |body| decode(body, &mut decoder));
        for (name, elapsed) in [("tape", tape), ("hash", hash), ("decode", decode)] {
            let seconds = elapsed.as_secs_f64();
            println!(
                "{name:<8} {:>9.0} events/s {:>7.0} MB/s  ratio {:.3}",
                lines.len() as f64 / seconds,
                bytes as f64 / 1e6 / seconds,
                tape.as_secs_f64() / seconds
            );
        }
    }
}

/// The sum of each delivery's best time: a delivery is short enough to escape what else the
/// machine does in one round or another.
fn best(deliveries: &[Vec<u8>], mut run: impl FnMut(&[u8]) -> Duration) -> Duration {
    let mut best = vec![Duration::MAX; deliveries.len()];
    for _ in 0..ROUNDS {
        for (best, body) in best.iter_mut().zip(deliveries) {
            *best = run(body).min(*best);
        }
    }
    best.iter().sum()
}

/// The lines as one list; its items have no kind of their own.
fn list(lines: &[&str]) -> Vec<u8> {
    const HEAD: &str = r#""kind":"Event","apiVersion":"audit.k8s.io/v1","#;
    let items: Vec<_> = lines.iter().map(|line| line.replacen(HEAD, "", 1)).collect();
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
        items.join(",")
    )
    .into_bytes()
}

/// The bar: simd-json's tape with its buffers kept, on a copy as it writes into its input.
fn tape(body: &[u8], buffers: &mut simd_json::Buffers) -> Duration {
    let mut body = body.to_vec();
    let mut tape = simd_json::Tape(Vec::with_capacity(body.len() / 8));
    let started = Instant::now();
    simd_json::fill_tape(&mut body, buffers, &mut tape).expect("the recording is JSON");
    let elapsed = started.elapsed();
    assert!(tape.0.len() > EVENTS_PER_DELIVERY);
    elapsed
}

/// All the bytes through the hash, about an event's at a time.
fn hash(body: &[u8]) -> Duration {
    let text = std::str::from_utf8(body).expect("the recording is UTF-8");
    let bytes = body.len() / EVENTS_PER_DELIVERY;
    let part = text.get(..bytes).expect("ASCII");
    let started = Instant::now();
    let mut zeros = 0;
    for _ in 0..EVENTS_PER_DELIVERY {
        let mut digest = EventDigest::new("bench");
        digest.member("", part);
        zeros += usize::from(digest.finish().as_str().starts_with("00"));
    }
    let elapsed = started.elapsed();
    assert!(zeros == 0 || zeros == EVENTS_PER_DELIVERY);
    elapsed
}

fn decode(body: &[u8], decoder: &mut Decoder) -> Duration {
    let mut quarantined = Vec::new();
    let mut rows = Rows::new();
    let delivery = Delivery { cluster: "bench", source: "webhook", received_at: 0, body };
    let started = Instant::now();
    let count = decoder.decode(&delivery, &mut rows, &mut quarantined);
    let rows = rows.finish();
    let elapsed = started.elapsed();
    assert_eq!((count, quarantined.len()), (rows.num_rows(), 0));
    elapsed
}
