//! How fast is history written, how small is it, how fast are questions? One line per figure.
//!
//! Rows are a recording of a real API server, replayed with moving times and new audit ids
//! (`AUDITMILL_BENCH_EVENTS` of them, half a million by default). `write` is the real way from rows
//! in memory to committed files, one thread; its bar is a bare Parquet writer with default
//! properties on text columns, in the same run. Questions are an analyst's, best of three; with
//! `AUDITMILL_READERS` (`make readers`) DuckDB answers the same over the same files.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use auditmill::clock::now_micros;
use auditmill::decode::{Decoder, Delivery};
use auditmill::event::Rows;
use auditmill::event::time::{parse_rfc3339, rfc3339};
use auditmill::history::flush::{Around, FlushSettings, History};
use auditmill::history::hot::Hot;
use auditmill::history::location::Location;
use auditmill::history::redact::Redactor;
use auditmill::history::upkeep::UpkeepSettings;
use auditmill::sql::context::analyst_session;
use parquet::arrow::ArrowWriter;

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/apiserver/background.jsonl");
const EVENTS: usize = 500_000;
/// Rows of one flush.
const FLUSH: usize = 100_000;
const TIMES: [&str; 2] = ["\"stageTimestamp\":\"", "\"requestReceivedTimestamp\":\""];

/// Name and text; `{id}` and `{since}` are of the data.
const QUESTIONS: [(&str, &str); 8] = [
    ("audit_id", "SELECT verb, request_uri FROM events WHERE audit_id = '{id}'"),
    (
        "user+address",
        "SELECT count(*) FROM events WHERE user_name = 'nobody@example' AND source_ip = '10.9.9.9'",
    ),
    (
        "top readers",
        "SELECT user_name, count(*) AS n FROM events WHERE resource = 'secrets' AND verb = 'get' \
         GROUP BY user_name ORDER BY n DESC LIMIT 10",
    ),
    (
        "verbs an hour",
        "SELECT verb, resource, date_trunc('hour', CAST(event_time AS TIMESTAMP)), count(*) \
         FROM events GROUP BY 1, 2, 3",
    ),
    ("like", "SELECT count(*) FROM events WHERE request_uri LIKE '%watch=true%'"),
    (
        "users an address",
        "SELECT source_ip, count(DISTINCT user_name) FROM events GROUP BY source_ip",
    ),
    (
        "denied",
        "SELECT user_name, resource, count(*) FROM events WHERE response_code IN (401, 403) \
         GROUP BY 1, 2",
    ),
    (
        "last hour",
        "SELECT user_name, count(*) FROM events WHERE event_time >= '{since}' GROUP BY 1",
    ),
];

/// Asks DuckDB the second argument over the files below the first; prints milliseconds.
const DUCKDB: &str = "
import sys, time, duckdb
connection = duckdb.connect()
connection.execute('SET threads = 2')
files = sys.argv[1] + '/cluster=*/day=*/*.parquet'
connection.execute(
    f\"CREATE VIEW events AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)\")
best = 1e9
for _ in range(3):
    started = time.perf_counter()
    connection.execute(sys.argv[2]).fetchall()
    best = min(best, time.perf_counter() - started)
print(best * 1e3)
";

fn main() {
    let events = std::env::var("AUDITMILL_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events: usize = events.unwrap_or(EVENTS);
    let folder = tempfile::tempdir().expect("a folder");
    let batches = rows(events);
    let json: usize = batches.iter().map(|(_, bytes)| bytes).sum();
    println!("{events} events, {} bytes of JSON each", json / events);
    let bar = bar(&batches);
    println!("bar            {:>9.0} events/s", rate(events, bar));
    let (took, bytes) = write(&batches, folder.path());
    println!(
        "write          {:>9.0} events/s  {:.1} bytes/event  ratio {:.2}",
        rate(events, took),
        bytes as f64 / events as f64,
        bar.as_secs_f64() / took.as_secs_f64()
    );
    drop(batches);
    ask(folder.path());
}

fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

/// Batches of rows with the bytes that they were decoded from.
fn rows(events: usize) -> Vec<(RecordBatch, usize)> {
    let text = std::fs::read_to_string(RECORDING).expect("the recording is in the repository");
    let lines: Vec<&str> = text.lines().collect();
    let span = 60_000_000;
    let base = now_micros() - span * events.div_ceil(lines.len()) as i64;
    let mut decoder = Decoder::new();
    let mut batches = Vec::new();
    for first in (0..events).step_by(10_000) {
        let mut body = String::new();
        for number in first..(first + 10_000).min(events) {
            let (copy, line) = (number / lines.len(), number % lines.len());
            body.push_str(&moved(lines[line], base + span * copy as i64, copy));
            body.push('\n');
        }
        let mut rows = Rows::new();
        let delivery = Delivery {
            cluster: "bench",
            source: "webhook",
            received_at: now_micros(),
            body: body.as_bytes(),
        };
        decoder.decode(&delivery, &mut rows, &mut Vec::new());
        batches.push((rows.finish(), body.len()));
    }
    batches
}

/// The event at another time, with an audit id of its own.
fn moved(line: &str, base: i64, copy: usize) -> String {
    let mut event = line.to_owned();
    for key in TIMES {
        let start = event.find(key).map(|start| start + key.len());
        if let Some(start) = start
            && let Some(time) = event.get(start..start + 27).and_then(parse_rfc3339)
        {
            let time = base + time.rem_euclid(60_000_000);
            event.replace_range(start..start + 27, &rfc3339(time));
        }
    }
    let id = "\"auditID\":\"";
    let start = event.find(id).expect("an audit id") + id.len();
    event.replace_range(start..start + 6, &format!("{copy:06x}"));
    event
}

/// A bare writer with default properties on plain text columns.
fn bar(batches: &[(RecordBatch, usize)]) -> Duration {
    let plain = |batch: &RecordBatch| {
        let columns = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Dictionary(..) | DataType::Utf8View => {
                cast(column, &DataType::Utf8).expect("text is text")
            }
            _ => Arc::clone(column),
        });
        let columns: Vec<_> = columns.collect();
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(&columns);
        let fields = fields.map(|(field, column)| {
            Field::new(field.name(), column.data_type().clone(), field.is_nullable())
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns).expect("the same rows")
    };
    let plain: Vec<RecordBatch> = batches.iter().map(|(batch, _)| plain(batch)).collect();
    let started = Instant::now();
    for flush in plain.chunks(FLUSH / 10_000) {
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, flush[0].schema(), None).expect("a file");
        for batch in flush {
            writer.write(batch).expect("rows of one schema");
        }
        writer.close().expect("a whole file");
    }
    started.elapsed()
}

/// The real way: rows in memory, files, commits. Gives the bytes of the files too.
fn write(batches: &[(RecordBatch, usize)], folder: &Path) -> (Duration, u64) {
    let written = Arc::new(AtomicU64::new(0));
    let mut took = Duration::ZERO;
    for (position, flush) in (1..).zip(batches.chunks(FLUSH / 10_000)) {
        let hot = Arc::new(Hot::new(usize::MAX));
        let location = Location::folder(folder).expect("a folder");
        let history = History::open(location, "bench", Arc::clone(&hot)).expect("a history");
        for (batch, _) in flush {
            hot.push(batch.clone());
        }
        hot.complete(position);
        hot.close();
        let settings = FlushSettings {
            bytes: usize::MAX,
            age: Duration::ZERO,
            late: i64::MAX,
            redactor: Redactor::default(),
            upkeep: UpkeepSettings::default(),
        };
        let total = Arc::clone(&written);
        let around = Around {
            before: Box::new(|_| Ok(())),
            after: Box::new(|_| Ok(())),
            urgent: Box::new(|| false),
            wrote: Box::new(move |_, bytes| {
                total.fetch_add(bytes, Ordering::SeqCst);
            }),
            failed: Box::new(|| {}),
        };
        let started = Instant::now();
        history.run(&settings, around).expect("history is written");
        took += started.elapsed();
    }
    (took, written.load(Ordering::SeqCst))
}

/// Asks each question, here and of DuckDB when it is there.
fn ask(folder: &Path) {
    let hot = Arc::new(Hot::new(usize::MAX));
    let location = Location::folder(folder).expect("a folder");
    let history = History::open(location, "bench", hot).expect("a history");
    let context = analyst_session(4 << 30).expect("a session");
    context.register_table("events", Arc::new(history.table())).expect("a table");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let rows = |sql: &str| {
        runtime.block_on(async { context.sql(sql).await?.collect().await }).expect("an answer")
    };
    let one = |sql: &str| {
        let rows = rows(sql);
        arrow::util::display::array_value_to_string(rows[0].column(0), 0).expect("a value")
    };
    let id = one("SELECT max(audit_id) FROM events");
    let since = one("SELECT max(event_time) - INTERVAL '1 hour' FROM events");
    let mut sum = (0.0, 0.0);
    for (name, text) in QUESTIONS {
        let sql = text.replace("{id}", &id).replace("{since}", &since);
        let ours = (0..3).map(|_| {
            let started = Instant::now();
            rows(&sql);
            started.elapsed().as_secs_f64() * 1e3
        });
        let ours = ours.fold(f64::INFINITY, f64::min);
        let theirs = duckdb(folder, &sql);
        sum.0 += ours;
        sum.1 += theirs.unwrap_or_default();
        let theirs = theirs.map_or_else(String::new, |theirs| format!("  DuckDB {theirs:>8.1} ms"));
        println!("{name:<16} {ours:>8.1} ms{theirs}");
    }
    println!("sum              {:>8.1} ms  DuckDB {:>8.1} ms", sum.0, sum.1);
}

/// Milliseconds that DuckDB takes over the same files, best of three; `None` where it is not.
fn duckdb(folder: &Path, sql: &str) -> Option<f64> {
    let python = Path::new(&std::env::var_os("AUDITMILL_READERS")?).join("bin/python");
    let answer = Command::new(python).args(["-c", DUCKDB]).arg(folder).arg(sql).output().ok()?;
    String::from_utf8(answer.stdout).ok()?.trim().parse().ok()
}
