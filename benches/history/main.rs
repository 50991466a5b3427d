//! How fast is history written, how small is it, how fast are questions? One line per figure.
//!
//! Rows are expanded from recordings of real API servers (`traffic/expand.rs`), five million of
//! them or `AUDITMILL_BENCH_EVENTS`. `write` is the real way from rows in memory to committed,
//! synced files, one thread; its bar is a bare Parquet writer with default properties on text
//! columns, into memory: as they are, which is not compressed, and with the same compression. They
//! take turns with the same rows, so that whatever else the machine does slows all. `cpu` is the
//! ratio in time of the processor, all threads of the process.
//! Questions are an analyst's, best of three; with `AUDITMILL_READERS` (`make readers`) DuckDB
//! answers the same over the same files. The first two are for needles. The overview is asked of
//! what files say of their minutes: at first, and best of three. Last come commands that look at
//! all of it (`commands.rs`).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
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
use auditmill::decode::{Decoder, Delivery};
use auditmill::event::Rows;
use auditmill::history::flush::{Around, FlushSettings, History};
use auditmill::history::hot::Hot;
use auditmill::history::location::Location;
use auditmill::history::redact::Redactor;
use auditmill::history::upkeep::UpkeepSettings;
use auditmill::proof::key::SigningKey;
use auditmill::sql::context::analyst_session;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use traffic::{BACKGROUND, Traffic};

mod commands;
#[path = "../traffic/expand.rs"]
mod traffic;

/// The work and the attacks of a day in a cluster, with bodies.
const DRIVEN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/realcluster/audit.jsonl");
/// 2026-03-02T00:00:00Z.
const START_MICROS: i64 = 1_772_409_600_000_000;
/// About 300 events a second: five million are four and a half hours.
const GAP_MICROS: u32 = 3_300;
const EVENTS: usize = 5_000_000;
/// Rows of one flush, and of one batch of it.
const FLUSH: usize = 100_000;
const BATCH: usize = 4_000;

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
    let folder = tempfile::tempdir_in(".").expect("a folder on this disk");
    let history = folder.path().join("history");
    let mut traffic = Traffic::new(&[BACKGROUND, DRIVEN], START_MICROS, GAP_MICROS);
    let mut decoder = Decoder::new();
    let (mut bar, mut packed, mut ours) = (Spent::default(), Spent::default(), Spent::default());
    let (mut json, mut bytes, mut packed_bytes) = (0, 0, 0);
    for (position, first) in (1..).zip((0..events).step_by(FLUSH)) {
        let count = FLUSH.min(events - first);
        let batches = rows(&mut traffic, &mut decoder, count, &mut json);
        bar.add(self::bar(&batches, Compression::UNCOMPRESSED).0);
        let (spent, written) = self::bar(&batches, Compression::ZSTD(ZstdLevel::default()));
        packed.add(spent);
        packed_bytes += written;
        let (spent, written) = write(batches, position, &history);
        ours.add(spent);
        bytes += written;
    }
    let each = |bytes: u64| bytes as f64 / events as f64;
    println!("events         {events:>9}, {:.0} bytes of JSON each", each(json));
    println!("bar            {:>9.0} events/s, not compressed", events as f64 / bar.wall);
    let bar_bytes = each(packed_bytes);
    println!("bar, zstd-1    {:>9.0} events/s, {bar_bytes:.1} bytes", events as f64 / packed.wall);
    println!("write          {:>9.0} events/s", events as f64 / ours.wall);
    for (name, bar) in [("bar", &bar), ("bar, zstd-1", &packed)] {
        let (wall, cpu) = (bar.wall / ours.wall, bar.cpu / ours.cpu);
        println!("ratio to {name:<11} {wall:>4.2}  cpu {cpu:.2}");
    }
    println!("bytes          {:>9.1} an event", each(bytes));
    ask(&history);
    commands::run(folder.path());
}

/// Seconds by the clock, and of the processor.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: f64,
    cpu: f64,
}

impl Spent {
    fn on(work: impl FnOnce()) -> Self {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        work();
        Self { wall: started.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu }
    }

    fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

/// Time of the processor that this process had, also in threads that ended.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything, utime and stime are the twelfth and thirteenth.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The next rows of the traffic; their bytes of JSON are added.
fn rows(
    traffic: &mut Traffic,
    decoder: &mut Decoder,
    count: usize,
    json: &mut u64,
) -> Vec<RecordBatch> {
    let batches = (0..count).step_by(BATCH).map(|first| {
        let (mut body, mut now) = (String::new(), START_MICROS);
        for _ in first..(first + BATCH).min(count) {
            now = traffic.push(&mut body);
            body.push('\n');
        }
        *json += body.len() as u64;
        let (mut rows, mut quarantined) = (Rows::new(), Vec::new());
        let received_at = now + 1_000_000;
        let delivery =
            Delivery { cluster: "bench", source: "webhook", received_at, body: body.as_bytes() };
        decoder.decode(&delivery, &mut rows, &mut quarantined);
        assert!(quarantined.is_empty(), "the traffic can be read");
        rows.finish()
    });
    batches.collect()
}

/// A bare writer with default properties on plain text columns.
fn bar(batches: &[RecordBatch], compression: Compression) -> (Spent, u64) {
    let plain: Vec<RecordBatch> = batches.iter().map(plain).collect();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut file = Vec::new();
    let spent = Spent::on(|| {
        let schema = plain[0].schema();
        let writer = ArrowWriter::try_new(&mut file, schema, Some(properties));
        let mut writer = writer.expect("a file");
        for batch in &plain {
            writer.write(batch).expect("rows of one schema");
        }
        writer.close().expect("a whole file");
    });
    (spent, file.len() as u64)
}

/// The rows with text columns alone.
fn plain(batch: &RecordBatch) -> RecordBatch {
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
}

/// The real way: rows in memory, a file, a commit. Gives the bytes of the file too.
fn write(batches: Vec<RecordBatch>, position: u64, folder: &Path) -> (Spent, u64) {
    let written = Arc::new(AtomicU64::new(0));
    let hot = Arc::new(Hot::new(usize::MAX));
    let location = Location::folder(folder).expect("a folder");
    let history = History::open(location, "bench", Arc::clone(&hot)).expect("a history");
    for batch in batches {
        hot.push(batch);
    }
    hot.complete(position);
    hot.close();
    let settings = FlushSettings {
        bytes: usize::MAX,
        age: Duration::ZERO,
        late: i64::MAX,
        redactor: Redactor::default(),
        upkeep: UpkeepSettings::default(),
        key: Some(SigningKey::of(folder.parent().unwrap_or(folder), "bench").expect("a key")),
    };
    let total = Arc::clone(&written);
    let around = Around {
        before: Box::new(|_| Ok(())),
        after: Box::new(|_| Ok(())),
        urgent: Box::new(|| false),
        wrote: Box::new(move |_, bytes| {
            total.fetch_add(bytes, Ordering::SeqCst);
        }),
        signed: Box::new(|_| {}),
        failed: Box::new(|| {}),
    };
    let spent = Spent::on(|| history.run(&settings, around).expect("history is written"));
    (spent, written.load(Ordering::SeqCst))
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
    context.register_table("minutes", Arc::new(history.minutes())).expect("a table");
    let overview = [(); 4].map(|()| {
        let started = Instant::now();
        rows("SELECT minute, verb, sum(events) FROM minutes GROUP BY 1, 2 ORDER BY 1, 2");
        started.elapsed().as_secs_f64() * 1e3
    });
    let [first, again @ ..] = overview;
    let again = again.into_iter().fold(f64::INFINITY, f64::min);
    println!("overview         {again:>8.1} ms  at first {first:.1} ms");
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
