//! Events of one cluster: recordings of real API servers, with users, addresses and audit ids of
//! their own, as batches that come in turn. Each time a batch comes its events are later and have
//! other ids.

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use auditmill::decode::{Decoder, Delivery};
use auditmill::event::Rows;
use auditmill::event::time::parse_rfc3339;
use serde_json::{Value, json};

const RECORDINGS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/realcluster/audit.jsonl"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/apiserver/background.jsonl"),
];
/// How many come in turn.
pub(crate) const BATCHES: usize = 24;
/// Events of a batch.
pub(crate) const ROWS: usize = 4_000;
/// A batch is a second of a busy cluster.
const SPAN: i64 = SECOND;
pub(crate) const SECOND: i64 = 1_000_000;

/// The batches, and how far their time has come.
pub(crate) struct Load {
    bodies: Vec<Vec<u8>>,
    batches: Vec<RecordBatch>,
    turn: usize,
}

impl Load {
    pub(crate) fn new() -> Self {
        let lines = RECORDINGS.map(|path| {
            std::fs::read_to_string(path).expect("the recordings are in the repository")
        });
        let recorded: Vec<Value> = lines
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| serde_json::from_str(line).expect("a recorded line is JSON"))
            .collect();
        let mut events = recorded.iter().cycle().enumerate();
        let mut body = || {
            let events = events.by_ref().take(ROWS).map(|(number, event)| vary(event, number));
            let events: Vec<String> = events.map(|event| event.to_string()).collect();
            events.join("\n").into_bytes()
        };
        let bodies: Vec<Vec<u8>> = (0..BATCHES).map(|_| body()).collect();
        let mut decoder = Decoder::new();
        let batches = bodies.iter().map(|body| decode(&mut decoder, body).0).collect();
        Self { bodies, batches, turn: 0 }
    }

    /// The batches as they are.
    pub(crate) fn all(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The next batch, and when it comes, microseconds: at the end of its second.
    pub(crate) fn next(&mut self) -> (RecordBatch, i64) {
        let first = parse_rfc3339("2026-03-01T00:00:00Z").expect("a time");
        let start = first + self.turn as i64 * SPAN;
        let batch = self.batches.get(self.turn % BATCHES).expect("a rest");
        let batch = dated(batch, start, SPAN, self.turn * ROWS);
        self.turn += 1;
        (batch, start + SPAN)
    }

    /// Seconds that decoding takes an event: the sum of each body's best.
    pub(crate) fn decode(&self) -> f64 {
        let mut decoder = Decoder::new();
        let mut best = |body: &Vec<u8>| {
            (0..5).map(|_| decode(&mut decoder, body).1).min().expect("more than none")
        };
        let elapsed: Duration = self.bodies.iter().map(&mut best).sum();
        elapsed.as_secs_f64() / (BATCHES * ROWS) as f64
    }
}

fn decode(decoder: &mut Decoder, body: &[u8]) -> (RecordBatch, Duration) {
    let (mut rows, mut quarantined) = (Rows::new(), Vec::new());
    let delivery = Delivery { cluster: "bench", source: "webhook", received_at: 0, body };
    let started = ThreadTime::now();
    let count = decoder.decode(&delivery, &mut rows, &mut quarantined);
    let rows = rows.finish();
    let elapsed = started.elapsed();
    assert_eq!((count, quarantined.len()), (ROWS, 0));
    (rows, elapsed)
}

/// A recorded event as somebody's own: people and service accounts have many names, the parts of
/// the cluster one.
fn vary(event: &Value, number: usize) -> Value {
    let mut event = event.clone();
    event["auditID"] = json!(format!("{number:08x}-0000-4000-8000-000000000000"));
    let user = event["user"]["username"].as_str().unwrap_or_default();
    let who = number / 7 % 211;
    let named = match user {
        "" => None,
        user if user.starts_with("system:serviceaccount:kube-system:") => None,
        user if user.starts_with("system:serviceaccount:") => Some(format!("{user}-{who}")),
        user if user.starts_with("system:") => None,
        user => Some(format!("{user}-{who}")),
    };
    if let Some(named) = named {
        event["user"]["username"] = json!(named);
        event["sourceIPs"] = json!([format!("10.1.{}.{}", who / 16, who % 16)]);
    }
    event
}

/// A batch whose events are spread over a time, with ids of their own.
pub(crate) fn dated(batch: &RecordBatch, start: i64, span: i64, number: usize) -> RecordBatch {
    let rows = batch.num_rows();
    let step = span / rows.max(1) as i64;
    let times = (0..rows as i64).map(|row| start + row * step);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let ids = (0..rows).map(|row| {
        // Spread over all bits, as a hash is.
        let id = (number + row) as u128 + 1;
        format!("{:032x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    });
    let ids = StringViewArray::from_iter_values(ids);
    let mut columns = batch.columns().to_vec();
    let new: [(&str, ArrayRef); 2] = [("event_time", Arc::new(times)), ("event_id", Arc::new(ids))];
    for (name, column) in new {
        let index = batch.schema().index_of(name).expect("a column of events");
        if let Some(place) = columns.get_mut(index) {
            *place = column;
        }
    }
    RecordBatch::try_new(batch.schema(), columns).expect("columns of the same types")
}
